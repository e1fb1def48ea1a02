#!/bin/bash
# The server of a pod, $1 `master` or `slave`; the other words are its own. A slave without data copies the master's.
# Beside the data lie a lock, which every process of the server holds, and a log: who started on this volume, who ended, and who
# came when somebody else's server was still there. That one goes away.
set -o errexit
volume=${PGDATA%/*} bin=/usr/lib/postgresql/$PG_MAJOR/bin role=$1
shift

note() { # WORD...
  echo "$((${EPOCHREALTIME/./} / 1000)) $1 $HOSTNAME ${*:2}" | tee -a "$volume/servers.log"
}

new_master() { # FOLDER
  $bin/initdb --pgdata="$1" --username="$POSTGRES_USER" --encoding=UTF8 --locale=C.UTF-8 --no-sync --auth-local=trust \
    --auth-host=scram-sha-256 >/dev/null
  printf 'host %s all all scram-sha-256\n' all replication >>"$1/pg_hba.conf"
  $bin/postgres --single -F -D "$1" postgres >/dev/null <<SQL
ALTER ROLE "$POSTGRES_USER" PASSWORD '$POSTGRES_PASSWORD'
CREATE ROLE "$REPLICATION_USER" LOGIN REPLICATION PASSWORD '$REPLICATION_PASSWORD'
CREATE DATABASE "$POSTGRES_DB"
SQL
}

new_slave() { # FOLDER
  local slot=()
  until $bin/pg_isready -q -h "$MASTER"; do sleep 0.2; done
  export PGUSER=$REPLICATION_USER PGPASSWORD=$REPLICATION_PASSWORD
  if [[ $SLOTS == true ]]; then
    slot=(--slot "${HOSTNAME//-/_}")
    psql -XqAt -h "$MASTER" -v ON_ERROR_STOP=1 -c "SELECT pg_create_physical_replication_slot('${slot[1]}', true)
      WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '${slot[1]}')"
  fi
  $bin/pg_basebackup --dbname="host=$MASTER application_name=$HOSTNAME" --pgdata="$1" --write-recovery-conf --wal-method=stream \
    --checkpoint=fast --no-sync "${slot[@]}"
}

trap 'exit 143' TERM INT
exec 9>>"$volume/server.lock"
if ! flock --nonblock 9; then
  note violation
  exit 1
fi
if [[ ! -s $PGDATA/PG_VERSION ]]; then
  rm -rf "$PGDATA" "$volume/new"
  new_$role "$volume/new" & # so that it can be told to end meanwhile
  wait $!
  mv "$volume/new" "$PGDATA"
fi
is=primary
for file in standby.signal recovery.signal recovery.conf; do [[ ! -e $PGDATA/$file ]] || is=standby; done
note start "$is"
rm -f "$PGDATA/postmaster.pid" # of a process in a container that is gone, since nobody has the lock
# Nothing here outlives the machine, so nothing has to be flushed for it; a killed server loses nothing by that.
$bin/postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off -c full_page_writes=off -c jit=off \
  -c max_connections=60 -c shared_buffers=32MB -c wal_keep_size=256MB -c wal_retrieve_retry_interval=1s -c log_line_prefix='%m [%p] %a ' "$@" &
server=$!
trap 'kill -INT $server' TERM INT # the fast way down
while kill -0 $server 2>/dev/null; do
  code=0
  wait $server || code=$?
done
note end "$code"
exit "$code"
