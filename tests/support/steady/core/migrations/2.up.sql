-- The application of version 1 can go on with this.
ALTER TABLE api.documents ADD language text NOT NULL DEFAULT 'en';
CREATE TABLE api.tags (document int REFERENCES api.documents, tag text, PRIMARY KEY (document, tag));
INSERT INTO api.tags SELECT id, 'old' FROM api.documents;
CREATE INDEX events_n ON api.events (n);
