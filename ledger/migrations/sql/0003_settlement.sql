-- Who settled a deferral and why stands in the resolution; how it was settled beside it.
ALTER TABLE billing.deferred_calls ADD COLUMN resolved_by text, ADD COLUMN resolution_note text;
GRANT UPDATE (resolved_by, resolution_note) ON billing.deferred_calls TO billing_consumer;
