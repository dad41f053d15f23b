-- compatible with 6
-- The outbox numbers of a shard begin after this one. It is above zero once shards were divided: numbers up to it were given to other shards' orders
-- as well, are no longer in use, and are never given again.
ALTER TABLE lane ADD COLUMN release_base bigint NOT NULL DEFAULT 0;

-- When shards were divided: the records of a topic and shard before end_offset were put there while there were so many shards.
CREATE TABLE division (
    topic      text COLLATE "C" NOT NULL,
    shard      smallint NOT NULL,
    end_offset bigint NOT NULL,
    shards     integer NOT NULL,
    PRIMARY KEY (topic, shard, end_offset)
);
