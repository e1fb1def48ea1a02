-- A shop's orders: what a row is like in practice, half of it text that repeats itself and half of it numbers and keys that don't.
SELECT setseed(0.5);
CREATE TABLE orders AS
SELECT n AS id, gen_random_uuid() AS reference, 100000 + floor(random() * 900000)::int AS customer,
  (ARRAY['paid','paid','paid','shipped','shipped','shipped','shipped','open','cancelled','refunded'])[1 + floor(random() * 10)] AS status,
  (ARRAY['EUR','EUR','EUR','USD','GBP'])[1 + floor(random() * 5)] AS currency, round((random() * 900)::numeric, 2) AS total,
  lower(f) || '.' || lower(l) || floor(random() * 5000)::int || '@example.' || (ARRAY['com','org','net','de'])[1 + floor(random() * 4)] AS email,
  f || ' ' || l AS name, timestamptz '2026-01-01 00:00:00+00' + n * interval '17 seconds' + random() * interval '17 seconds' AS created,
  CASE WHEN random() < 0.6 THEN NULL ELSE timestamptz '2026-01-02 00:00:00+00' + n * interval '17 seconds' + random() * interval '9 days' END AS shipped,
  random() < 0.1 AS gift,
  CASE WHEN random() < 0.5 THEN NULL ELSE array_to_string(ARRAY(SELECT words[1 + floor(power(random(), 2) * array_length(words, 1))]
     FROM generate_series(1, 3 + (n * 7919 % 25))), ' ') END AS note,
  jsonb_build_object('sku', 1000000 + floor(random() * 9000000)::int, 'quantity', 1 + floor(random() * 4)::int, 'weight', round((random() * 20)::numeric, 3), 'warehouse', (ARRAY['north','south','east'])[1 + floor(random() * 3)]) AS item
FROM (SELECT n, firsts[1 + floor(random() * array_length(firsts, 1))] AS f, lasts[1 + floor(random() * array_length(lasts, 1))] AS l, words
  FROM generate_series(1, 260000) AS n,
  (SELECT string_to_array('Anna Ben Clara David Eva Finn Greta Hans Ida Jonas Klara Leon Mia Noah Olga Paul Rosa Sam Tina Uwe Vera Willi Xenia Yann Zoe', ' ') AS firsts,
   string_to_array('Schmidt Fischer Weber Meyer Wagner Becker Schulz Hoffmann Koch Bauer Richter Klein Wolf Neumann Braun Hartmann Lange Krause', ' ') AS lasts,
   string_to_array('the please to leave at door and not ring bell my neighbour in number if nobody is home call before you come gift wrap it with blue paper send invoice by mail only address changed since last order thank you parcel was damaged replace second item colour wrong size too small exchange for large one deliver after six evening weekend office reception floor left behind garden gate dog careful fragile glass keep upright cold urgent birthday', ' ') AS words) AS lists) AS people;
