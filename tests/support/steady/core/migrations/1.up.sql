-- What the application writes to; :megabytes of documents.
CREATE SCHEMA api;
CREATE SEQUENCE api.ticket;
CREATE TABLE api.likes (n bigint PRIMARY KEY, author text NOT NULL, body jsonb, price numeric(12, 2));
CREATE TABLE api.accounts (id int PRIMARY KEY, balance numeric NOT NULL DEFAULT 0, seen timestamptz);
CREATE TABLE api.events (n bigint NOT NULL, said text);
CREATE TABLE api.queue (n bigint PRIMARY KEY, ticket bigint NOT NULL);
CREATE TABLE api.documents (id int PRIMARY KEY, title text NOT NULL, content bytea);
ALTER TABLE api.documents ALTER content SET STORAGE EXTERNAL;
INSERT INTO api.accounts SELECT i, i / 3.0 FROM generate_series(1, 100) AS i;
INSERT INTO api.likes SELECT i, 'before', jsonb_build_object('n', i), i / 7.0 FROM generate_series(1, 1000) AS i;
INSERT INTO api.documents SELECT i, 'document ' || i, decode(repeat(md5(i::text), 512), 'hex')
  FROM generate_series(1, 20 + 128 * :megabytes) AS i;
ANALYZE;
