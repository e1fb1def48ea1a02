#!/bin/bash
# Brings the database to version $1, with golang-migrate's books and its lock: of several that come at once one migrates.
set -o errexit
until pg_isready -q; do sleep 0.2; done
{
  cat <<SQL
SET client_min_messages = warning;
SELECT pg_advisory_lock(8091) \g /dev/null
CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
DO \$\$ BEGIN
  IF EXISTS (SELECT FROM schema_migrations WHERE dirty) THEN RAISE 'Dirty database version. Fix and force version.'; END IF;
END \$\$;
SQL
  for ((version = 1; version <= $1; version++)); do
    fails=
    [[ $FAIL != true || $version != "$1" ]] || fails='SELECT 1 / 0;'
    cat <<SQL
SELECT NOT EXISTS (SELECT FROM schema_migrations WHERE version >= $version) AS is_to_come \gset
\if :is_to_come
  \echo migrating to version $version
  BEGIN; TRUNCATE schema_migrations; INSERT INTO schema_migrations VALUES ($version, true); COMMIT;
  \i /migrations/$version.up.sql
  $fails
  UPDATE schema_migrations SET dirty = false;
\endif
SQL
  done
  echo 'SELECT version, dirty FROM schema_migrations;'
} | psql -XqAt -v ON_ERROR_STOP=1 -v megabytes="$MEGABYTES"
