-- The store of one server: every row of a shard's subjects, its effects and its input positions, committed together.
-- Keys lead with the shard. Codes of state, decision and kind are those of pipeline.orders and pipeline.entitlements.

CREATE TABLE store_info (
    name  text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

-- One row per shard: who writes it (epoch fences the others) and the last number given in its outbox.
CREATE TABLE lane (
    shard       smallint PRIMARY KEY,
    epoch       bigint NOT NULL DEFAULT 0,
    owner       text NOT NULL DEFAULT '',
    release_seq bigint NOT NULL DEFAULT 0,
    work_no     bigint NOT NULL DEFAULT 0,
    claimed_at  timestamptz
);

CREATE TABLE position (
    topic       text COLLATE "C" NOT NULL,
    shard       smallint NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, shard)
);

-- What became of the records [first_offset, end_offset) of one topic and shard, taken in one transaction.
CREATE TABLE frame (
    topic        text COLLATE "C" NOT NULL,
    shard        smallint NOT NULL,
    first_offset bigint NOT NULL,
    end_offset   bigint NOT NULL,
    epoch        bigint NOT NULL,
    applied      integer NOT NULL,
    duplicate    integer NOT NULL,
    conflict     integer NOT NULL,
    dead_letter  integer NOT NULL,
    taken_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, shard, first_offset),
    CHECK (end_offset - first_offset = applied + duplicate + conflict + dead_letter)
);

CREATE TABLE dead_letter (
    topic         text COLLATE "C" NOT NULL,
    shard         smallint NOT NULL,
    record_offset bigint NOT NULL,
    record_key    bytea NOT NULL,
    record_value  bytea NOT NULL,
    problems      jsonb NOT NULL,
    status        text COLLATE "C" NOT NULL DEFAULT 'open',
    arrived_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, shard, record_offset)
);

-- Something a person should look at; never dropped, never acted on by itself.
CREATE TABLE finding (
    shard    smallint NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    subject  text COLLATE "C" NOT NULL,
    ident    text COLLATE "C" NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, kind, subject, ident)
);

CREATE TABLE facts (
    shard   smallint NOT NULL,
    subject text COLLATE "C" NOT NULL,
    history bytea NOT NULL,
    PRIMARY KEY (shard, subject)
);

-- Which subjects ever had an account assigned; the key is a digest, the account itself stays in the facts.
CREATE TABLE account_holder (
    account_key bytea NOT NULL,
    subject     text COLLATE "C" NOT NULL,
    PRIMARY KEY (account_key, subject)
);

CREATE TABLE rule_document (
    rule_id   integer PRIMARY KEY,
    hash      text COLLATE "C" NOT NULL UNIQUE,
    benefit   text COLLATE "C" NOT NULL,
    document  text NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

-- What an entitlement is to: one benefit in one period, in one currency.
CREATE TABLE benefit_period (
    benefit_period_id smallint PRIMARY KEY,
    benefit           text COLLATE "C" NOT NULL,
    period            text COLLATE "C" NOT NULL,
    currency          text COLLATE "C" NOT NULL,
    UNIQUE (benefit, period)
);

-- How far everybody already known has been decided under a rule.
CREATE TABLE activation (
    shard             smallint NOT NULL,
    benefit_period_id smallint NOT NULL,
    rule_id           integer NOT NULL,
    decided_to        text COLLATE "C" NOT NULL,
    done              boolean NOT NULL,
    PRIMARY KEY (shard, benefit_period_id)
);

CREATE TABLE entitlement (
    shard             smallint NOT NULL,
    benefit_period_id smallint NOT NULL,
    rule_id           integer NOT NULL,
    decision          smallint NOT NULL,
    owed_minor        bigint NOT NULL,
    live_minor        bigint NOT NULL,
    claim_minor       bigint NOT NULL,
    orders            integer NOT NULL,
    held              integer NOT NULL,
    subject           text COLLATE "C" NOT NULL,
    receipt           bytea NOT NULL,
    PRIMARY KEY (shard, subject, benefit_period_id),
    CHECK (decision = 2 OR live_minor = owed_minor + claim_minor)
);

-- The order row is its own outbox entry: release_seq is gapless per shard, 0 means it has not been released.
CREATE TABLE payment_order (
    shard             smallint NOT NULL,
    benefit_period_id smallint NOT NULL,
    sequence          integer NOT NULL,
    kind              smallint NOT NULL,
    amount_minor      bigint NOT NULL CHECK (amount_minor > 0),
    rule_id           integer NOT NULL,
    first_state       smallint NOT NULL,
    state             smallint NOT NULL,
    attempt           integer NOT NULL,
    steps             integer NOT NULL,
    release_seq       bigint NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    order_id          bytea NOT NULL,
    fingerprint       bytea NOT NULL,
    subject           text COLLATE "C" NOT NULL,
    reason            text COLLATE "C" NOT NULL,
    account           text NOT NULL,
    PRIMARY KEY (shard, subject, benefit_period_id, sequence)
);
CREATE UNIQUE INDEX payment_order_release ON payment_order (shard, release_seq) WHERE release_seq > 0;

CREATE TABLE order_history (
    shard             smallint NOT NULL,
    benefit_period_id smallint NOT NULL,
    sequence          integer NOT NULL,
    step_no           integer NOT NULL,
    from_state        smallint NOT NULL,
    to_state          smallint NOT NULL,
    attempt           integer NOT NULL,
    at                timestamptz NOT NULL DEFAULT now(),
    subject           text COLLATE "C" NOT NULL,
    step              text COLLATE "C" NOT NULL,
    reason            text COLLATE "C" NOT NULL,
    cause             text NOT NULL,
    PRIMARY KEY (shard, subject, benefit_period_id, sequence, step_no)
);

CREATE TABLE transfer (
    topic             text COLLATE "C" NOT NULL,
    shard             smallint NOT NULL,
    first_offset      bigint NOT NULL,
    benefit_period_id smallint NOT NULL,
    step              text COLLATE "C" NOT NULL,
    debit             text COLLATE "C" NOT NULL,
    credit            text COLLATE "C" NOT NULL,
    amount_minor      bigint NOT NULL CHECK (amount_minor > 0),
    orders            integer NOT NULL,
    posted_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, shard, first_offset, benefit_period_id, step, debit, credit),
    CHECK (debit <> credit)
);

-- How far the orders of a shard have been published.
CREATE TABLE relay (
    shard       smallint PRIMARY KEY,
    relayed_seq bigint NOT NULL DEFAULT 0
);

-- One message to the bank: the released orders (first_seq .. last_seq) of a shard and currency.
CREATE TABLE submission (
    message_id   text COLLATE "C" PRIMARY KEY,
    shard        smallint NOT NULL,
    first_seq    bigint NOT NULL,
    last_seq     bigint NOT NULL,
    currency     text COLLATE "C" NOT NULL,
    orders       integer NOT NULL,
    amount_minor bigint NOT NULL,
    created_at   timestamptz NOT NULL,
    execution_on date NOT NULL,
    file_name    text NOT NULL,
    written      boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX submission_range ON submission (shard, first_seq, currency);

-- Every file the bank sent, by content: the same file twice is seen, a refused one keeps its reason.
CREATE TABLE bank_file (
    sha256      text COLLATE "C" PRIMARY KEY,
    file_name   text NOT NULL,
    kind        text COLLATE "C" NOT NULL,
    message_id  text NOT NULL,
    answers     integer NOT NULL,
    outcome     text COLLATE "C" NOT NULL,
    detail      text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % is refused, post a reversal instead', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER transfer_append_only BEFORE UPDATE OR DELETE ON transfer FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfer_no_truncate BEFORE TRUNCATE ON transfer FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER order_history_append_only BEFORE UPDATE OR DELETE ON order_history FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER order_history_no_truncate BEFORE TRUNCATE ON order_history FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER frame_append_only BEFORE UPDATE OR DELETE ON frame FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER rule_document_append_only BEFORE UPDATE OR DELETE ON rule_document FOR EACH ROW EXECUTE FUNCTION refuse_change();
