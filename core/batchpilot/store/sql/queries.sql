-- name: read_page
SELECT state, attempt, floor, charged, planned, submission, outcome FROM page WHERE k = ?

-- name: write_page
INSERT OR REPLACE INTO page (k, state, attempt, floor, charged, planned, submission, outcome)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: get_meta
SELECT value FROM meta WHERE key = ?

-- name: set_meta
INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: write_pars
INSERT OR REPLACE INTO pars (k, offsets, data) VALUES (?, ?, ?)

-- name: read_pars
SELECT offsets, data FROM pars WHERE k = ?

-- name: all_pars
SELECT k, offsets, data FROM pars ORDER BY k

-- name: add_class
INSERT OR IGNORE INTO class (id, resources) VALUES (?, ?)

-- name: all_classes
SELECT id, resources FROM class

-- name: add_submission
INSERT INTO submission (submitted, class, epoch, resources, priority, retries) VALUES (?, ?, ?, ?, ?, ?)

-- name: add_span
INSERT INTO span (submission, class, first, size, ids, cuts) VALUES (?, ?, ?, ?, ?, ?)

-- name: keep_chunks
UPDATE submission SET chunked = 1 WHERE id = ?

-- name: next_try
SELECT id, class FROM submission WHERE parent = ? AND failure = ?

-- name: add_try
INSERT INTO submission (submitted, class, epoch, resources, priority, retries, parent, failure)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: add_gate
INSERT INTO gate (submission, after, failed) VALUES (?, ?, ?)

-- name: read_gate
SELECT after, failed FROM gate WHERE submission = ?

-- name: waiting_gates
SELECT submission, after FROM gate WHERE failed IS NULL AND LENGTH(after) > 0 ORDER BY submission

-- name: narrow_gate
UPDATE gate SET after = ? WHERE submission = ?

-- name: fail_gate
UPDATE gate SET failed = ? WHERE submission = ?

-- name: hold_spans
INSERT INTO held_span (submission, class, first, size, ids, cuts, next)
SELECT submission, class, first, size, ids, cuts, next FROM span WHERE submission = ? ORDER BY id

-- name: release_spans
INSERT INTO span (submission, class, first, size, ids, cuts, next)
SELECT submission, class, first, size, ids, cuts, next FROM held_span WHERE submission = ? ORDER BY id

-- name: drop_held
DELETE FROM held_span WHERE submission = ?

-- name: next_failed
SELECT held_span.id, held_span.submission, first, size, ids, next, failed
FROM held_span JOIN gate ON gate.submission = held_span.submission
WHERE failed IS NOT NULL ORDER BY held_span.id LIMIT 1

-- name: move_held
UPDATE held_span SET next = ? WHERE id = ?

-- name: drop_held_span
DELETE FROM held_span WHERE id = ?

-- name: held_left
SELECT COALESCE(SUM(size - next), 0) FROM held_span

-- name: classes_with_work
SELECT DISTINCT class FROM span UNION SELECT DISTINCT class FROM again

-- name: again_by_class
SELECT class, MAX(alone) FROM again GROUP BY class

-- name: next_again
SELECT id, submission, alone, ranges FROM again WHERE class = ? ORDER BY alone DESC, id LIMIT 1

-- name: add_again
INSERT INTO again (class, submission, alone, ranges) VALUES (?, ?, ?, ?)

-- name: drop_again
DELETE FROM again WHERE id = ?

-- name: shorten_again
UPDATE again SET ranges = ? WHERE id = ?

-- name: next_span
SELECT id, submission, first, size, ids, cuts, next FROM span WHERE class = ? ORDER BY id LIMIT 1

-- name: move_span
UPDATE span SET next = ? WHERE id = ?

-- name: drop_span
DELETE FROM span WHERE id = ?

-- name: span_left
SELECT COALESCE(SUM(size - next), 0) FROM span WHERE class = ?

-- name: read_submission
SELECT submitted, class, epoch, resources, priority, retries, chunked FROM submission WHERE id = ?

-- name: add_chunk
INSERT INTO chunk (class, submission, attempt, ranges, size, fed) VALUES (?, ?, ?, ?, ?, ?)

-- name: skip_chunks
INSERT INTO chunk (id, class, submission, attempt, ranges, size, fed) VALUES (?, '', 0, 0, x'', 0, 0)

-- name: read_chunk
SELECT class, submission, attempt, ranges, agent, started FROM chunk WHERE id = ?

-- name: all_chunks
SELECT id, class, submission, attempt, ranges, agent, fed FROM chunk ORDER BY id

-- name: chunks_of_agent
SELECT id, class, submission, attempt, ranges, started FROM chunk WHERE agent = ? ORDER BY id

-- name: give_chunk
UPDATE chunk SET agent = ? WHERE id = ? AND agent != ?

-- name: start_chunk
UPDATE chunk SET agent = ?, started = ? WHERE id = ?

-- name: drop_chunk
DELETE FROM chunk WHERE id = ?

-- name: queued_by_class
SELECT class, COUNT(*), COALESCE(SUM(size), 0) FROM chunk WHERE agent = '' GROUP BY class

-- name: read_segment
SELECT id, applied FROM segment WHERE name = ?

-- name: add_segment
INSERT INTO segment (name, agent) VALUES (?, ?)

-- name: move_segment
UPDATE segment SET applied = ? WHERE id = ?

-- name: all_segments
SELECT id, name, agent, applied FROM segment ORDER BY id

-- name: add_outcome
INSERT INTO outcome (segment, rows) VALUES (?, ?)

-- name: read_outcome
SELECT segment, rows FROM outcome WHERE id = ?

-- name: columns
SELECT t.name, c.name, c.type FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'

-- name: all_outcomes
SELECT id, segment, rows FROM outcome ORDER BY id

-- name: newest_outcomes
SELECT rows FROM outcome ORDER BY id DESC

-- name: add_running
INSERT INTO running (job, attempt, agent, started, log_pos) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (job) DO UPDATE SET attempt = excluded.attempt, agent = excluded.agent,
  started = excluded.started, log_pos = MAX(excluded.log_pos, CASE WHEN attempt = excluded.attempt THEN log_pos ELSE -1 END)

-- name: drop_running
DELETE FROM running WHERE job = ?

-- name: all_running
SELECT job, attempt, agent, started, log_pos FROM running ORDER BY job

-- name: add_agent
INSERT INTO agent (id, pool, host, pid, state, slots, started, info) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET pid = excluded.pid, state = excluded.state, info = excluded.info, ended = NULL

-- name: set_agent_state
UPDATE agent SET state = ?, busy = ? WHERE id = ? AND (state != ? OR busy != ?)

-- name: end_agent
UPDATE agent SET state = ?, busy = 0, ended = ? WHERE id = ?

-- name: all_agents
SELECT id, pool, host, pid, state, slots, busy, started, ended FROM agent ORDER BY started, id

-- name: live_agents
SELECT id, info FROM agent WHERE ended IS NULL

-- name: add_cancel
INSERT INTO cancel (ranges, floor) VALUES (?, ?)

-- name: all_cancels
SELECT id, ranges, floor FROM cancel ORDER BY id

-- name: drop_cancel
DELETE FROM cancel WHERE id = ?

-- name: unfinished_by_class
SELECT class, SUM(n) FROM (
  SELECT class, size - next AS n FROM span
  UNION ALL SELECT class, LENGTH(ranges) / 8 FROM again
  UNION ALL SELECT class, size FROM chunk
) GROUP BY class

-- name: drop_spans
DELETE FROM span WHERE submission = ?

-- name: drop_again_of
DELETE FROM again WHERE submission = ?

-- name: forget_held
DELETE FROM held_span

-- name: forget_gates
DELETE FROM gate

-- name: forget_spans
DELETE FROM span

-- name: forget_again
DELETE FROM again

-- name: forget_chunks
DELETE FROM chunk

-- name: forget_running
DELETE FROM running

-- name: forget_cancels
DELETE FROM cancel

-- name: forget_agents
DELETE FROM agent
