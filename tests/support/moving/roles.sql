CREATE ROLE admin LOGIN SUPERUSER PASSWORD 'admin-secret';
CREATE ROLE plain LOGIN PASSWORD 'plain-secret';
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticator LOGIN NOINHERIT PASSWORD 'web-secret';
GRANT anon TO authenticator;
