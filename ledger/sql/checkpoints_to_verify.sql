-- Each checkpoint with the seals that are in it now, as make_checkpoint.sql takes them.
SELECT
    checkpoint.number, checkpoint.previous, checkpoint.hash, checkpoint.made_at, checkpoint.records,
    seal.id, seal.version, (extract(epoch FROM seal.written_at) * 1000000)::bigint, seal.records, seal.kind,
    seal.digest, seal.entries
FROM billing.checkpoints AS checkpoint
LEFT JOIN billing.sealed AS place ON place.checkpoint = checkpoint.number
LEFT JOIN billing.seals AS seal ON seal.id = place.seal_id
ORDER BY checkpoint.number, seal.id
