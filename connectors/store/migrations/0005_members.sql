-- What members' lanes have to tell households' lanes: an outbox, gapless per shard, whose rows go when they are published. What a row says is a copy
-- of what stands in the facts.
CREATE TABLE member_share (
    shard     smallint NOT NULL,
    seq       bigint NOT NULL,
    household text COLLATE "C" NOT NULL,
    message   bytea NOT NULL,
    PRIMARY KEY (shard, seq)
);
ALTER TABLE lane ADD COLUMN share_seq bigint NOT NULL DEFAULT 0;
ALTER TABLE relay ADD COLUMN shared_seq bigint NOT NULL DEFAULT 0;

-- How far everybody known has told their households what the rules in force need of members.
CREATE TABLE member_run (
    shard   smallint PRIMARY KEY,
    needs   text COLLATE "C" NOT NULL,
    told_to text COLLATE "C" NOT NULL,
    done    boolean NOT NULL
);

-- Which shards have said that everybody there has told their households; a household is first decided when all have.
CREATE TABLE member_told (
    shard      smallint NOT NULL,
    needs      text COLLATE "C" NOT NULL,
    from_shard smallint NOT NULL,
    PRIMARY KEY (shard, needs, from_shard)
);
