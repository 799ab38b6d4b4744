-- Updates and deletes carry the old values of the columns that are part of a Cassandra primary key,
-- and only those: the sink needs them to remove the row from where it was. The whole old row
-- (REPLICA IDENTITY FULL) would double the WAL of every update.
CREATE UNIQUE INDEX users_replica_identity ON users (id, nat, registered_at, run_id);
ALTER TABLE users REPLICA IDENTITY USING INDEX users_replica_identity;

CREATE PUBLICATION datastreaming FOR TABLE users;
