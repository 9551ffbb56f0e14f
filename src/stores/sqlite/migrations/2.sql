-- What was priced, and how. Money is pico-USD.
-- `cache_write_tokens` counts every write into the prompt cache, `cache_write_1h_tokens` those of them
-- that are kept for an hour.
ALTER TABLE attempts ADD COLUMN cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN cache_write_1h_price_pico INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN images INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN per_image_price_pico INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN per_request_price_pico INTEGER NOT NULL DEFAULT 0;
-- Which entry of the price list was applied; empty before this version.
ALTER TABLE attempts ADD COLUMN price_version TEXT NOT NULL DEFAULT '';
-- The long-context step that was applied: the dearer price above this many input tokens.
ALTER TABLE attempts ADD COLUMN price_step_tokens INTEGER;
-- The service tier that the upstream named: standard, flex, priority, batch.
ALTER TABLE attempts ADD COLUMN service_tier TEXT;
-- 1 when the upstream served another model than the one asked for.
ALTER TABLE attempts ADD COLUMN substituted INTEGER NOT NULL DEFAULT 0;
-- Whose price was applied, when it was not that of `model`; and what `model` would have cost.
ALTER TABLE attempts ADD COLUMN priced_model TEXT;
ALTER TABLE attempts ADD COLUMN asked_cost_pico INTEGER;
