#!/bin/bash
# The server of version $1 with its data in /data, made when there is none; the other words are settings.
set -o errexit
bin=/usr/lib/postgresql/$1/bin
shift
if [[ ! -s /data/pg/PG_VERSION ]]; then
  rm -rf /data/pg
  $bin/initdb --pgdata=/data/pg --username=postgres --encoding=UTF8 --locale=C.UTF-8 --no-sync --auth-local=trust \
    --auth-host=scram-sha-256 >/dev/null
  echo 'host all all all scram-sha-256' >>/data/pg/pg_hba.conf
  echo 'host replication all all scram-sha-256' >>/data/pg/pg_hba.conf
  $bin/postgres --single -D /data/pg postgres </moving/roles.sql >/dev/null
  echo 'CREATE DATABASE shop OWNER admin' | $bin/postgres --single -D /data/pg postgres >/dev/null
fi
rm -f /data/pg/postmaster.pid # of a process in a container that is gone
# Nothing here outlives the machine, so nothing has to be flushed for it; a killed server loses nothing by that.
$bin/postgres -D /data/pg -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off -c full_page_writes=off -c jit=off \
  -c max_connections=80 -c shared_buffers=32MB -c max_prepared_transactions=5 -c log_line_prefix='%m [%p] %a ' "$@" &
server=$!
trap 'kill -INT $server' TERM INT # the fast way down
while kill -0 $server 2>/dev/null; do wait $server || code=$?; done
exit "${code:-0}"
