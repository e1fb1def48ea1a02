BEGIN IMMEDIATE;
INSERT OR IGNORE INTO episodes_5m (timeslot, nano_up, nano_down, group_name, probe_name, nano_unknown, nano_unmeasured)
  SELECT timeslot, 300000000000 - max(nano_down) - min(nano_unknown) - min(nano_unmeasured), max(nano_down), group_name, '__total__', min(nano_unknown), min(nano_unmeasured)
  FROM episodes_5m GROUP BY timeslot, group_name;
COMMIT;
