-- The fetcher's own tables and the table whose changes are streamed.

CREATE TABLE fetch_runs (
    run_id           text PRIMARY KEY CHECK (length(run_id) BETWEEN 1 AND 250),
    status           text NOT NULL DEFAULT 'pending'
                     CHECK (status IN ('pending', 'running', 'succeeded', 'failed')),
    requested        bigint NOT NULL CHECK (requested > 0),
    nationalities    text[] NOT NULL DEFAULT '{}',
    seed             text NOT NULL,
    page_size        integer NOT NULL CHECK (page_size BETWEEN 1 AND 5000),
    -- Progress commits together with the users of the page that it counts.
    next_page        integer NOT NULL DEFAULT 1,
    fetched          bigint NOT NULL DEFAULT 0,
    stored           bigint NOT NULL DEFAULT 0,
    rejected         bigint NOT NULL DEFAULT 0,
    duplicates       bigint NOT NULL DEFAULT 0,
    attempts         integer NOT NULL DEFAULT 0,
    simulated        boolean NOT NULL DEFAULT false,
    reason           text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    CHECK (fetched = stored + rejected + duplicates)
);

CREATE INDEX fetch_runs_unfinished ON fetch_runs (created_at) WHERE status IN ('pending', 'running');

CREATE TABLE users (
    id                   uuid PRIMARY KEY,
    run_id               text NOT NULL REFERENCES fetch_runs (run_id),
    fetched_at           timestamptz NOT NULL,
    nat                  text NOT NULL,
    gender               text NOT NULL,
    title                text NOT NULL,
    first_name           text NOT NULL,
    last_name            text NOT NULL,
    street_number        integer NOT NULL,
    street_name          text NOT NULL,
    city                 text NOT NULL,
    state                text NOT NULL,
    country              text NOT NULL,
    postcode             text NOT NULL,
    latitude             double precision NOT NULL,
    longitude            double precision NOT NULL,
    timezone_offset      text NOT NULL,
    timezone_description text NOT NULL,
    email                text NOT NULL,
    username             text NOT NULL,
    date_of_birth        timestamptz NOT NULL,
    registered_at        timestamptz NOT NULL,
    phone                text NOT NULL,
    cell                 text NOT NULL,
    document_name        text,
    document_value       text,
    picture_large        text NOT NULL,
    picture_medium       text NOT NULL,
    picture_thumbnail    text NOT NULL
);

CREATE INDEX users_by_run ON users (run_id, id);

CREATE TABLE fetch_rejects (
    run_id      text NOT NULL REFERENCES fetch_runs (run_id),
    page        integer NOT NULL,
    -- Index of the profile in its page, from 0.
    position    integer NOT NULL,
    reason      text NOT NULL,
    message     text NOT NULL,
    -- As the API sent it, less the login secrets, which are never stored.
    profile     json NOT NULL,
    rejected_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, page, position)
);
