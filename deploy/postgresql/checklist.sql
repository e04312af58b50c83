-- What `commeazy-check --checklist` may know of Prosody's database: counts, never contents. Run it on the primary, as its superuser:
--     psql -d prosody -f checklist.sql
--     psql -d prosody -c "\password commeazy_check"
-- Prosody makes its tables at its first start, so start it before. Doing it twice does no harm.

\set ON_ERROR_STOP on

DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'commeazy_check') THEN CREATE ROLE commeazy_check LOGIN; END IF;
END $$;
ALTER ROLE commeazy_check SET default_transaction_read_only = on;
ALTER ROLE commeazy_check SET statement_timeout = '60s';

-- Rows of each store: what Prosody keeps by key, and its archives, where messages would be.
CREATE OR REPLACE VIEW commeazy_stores AS
    SELECT store, count(*) AS number FROM prosody GROUP BY store
    UNION ALL
    SELECT store || ' (archive)', count(*) FROM prosodyarchive GROUP BY store;

-- Accounts by how their password is stored: internal_plain keeps `password`, internal_hashed keeps `stored_key`.
CREATE OR REPLACE VIEW commeazy_passwords AS
    SELECT count(DISTINCT (host, "user")) FILTER (WHERE key = 'password') AS cleartext,
           count(DISTINCT (host, "user")) FILTER (WHERE key = 'stored_key') AS hashed
    FROM prosody WHERE store = 'accounts';

-- The views read with their owner's rights; this role can read nothing else.
GRANT SELECT ON commeazy_stores, commeazy_passwords TO commeazy_check;
