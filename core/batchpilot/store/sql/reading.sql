
-- name: segment_names
SELECT id, name FROM segment

-- name: segment_host
SELECT agent.host FROM segment JOIN agent ON agent.id = segment.agent WHERE segment.name = ?

-- name: running_job
SELECT agent, started, log_pos FROM running WHERE job = ?

-- name: submission_facts
SELECT submitted, epoch, resources FROM submission WHERE id = ?

-- name: all_tags
SELECT job, tag FROM tag ORDER BY job, tag

-- name: jobs_tagged
SELECT job FROM tag WHERE tag = ? ORDER BY job

-- name: add_tag
INSERT OR IGNORE INTO tag (job, tag) VALUES (?, ?)

-- name: drop_tag
DELETE FROM tag WHERE job = ? AND tag = ?

-- name: all_names
SELECT job, name FROM name ORDER BY job

-- name: set_name
INSERT OR REPLACE INTO name (job, name) VALUES (?, ?)

-- name: drop_name
DELETE FROM name WHERE job = ?

-- name: agents_at_work
SELECT id, pool, host, pid, state, slots,
  (SELECT COUNT(*) FROM chunk WHERE chunk.agent = agent.id AND chunk.started IS NOT NULL), started,
  (SELECT element.id FROM element WHERE element.state = 'running' AND element.agent = agent.id),
  (SELECT json_group_array(job) FROM running WHERE running.agent = agent.id), info,
  (SELECT allocation.variables FROM element JOIN allocation ON allocation.id = element.allocation
   WHERE element.state = 'running' AND element.agent = agent.id)
FROM agent WHERE ended IS NULL ORDER BY started, id

-- name: outcomes_of_agent
SELECT outcome.rows FROM outcome JOIN segment ON segment.id = outcome.segment
WHERE segment.agent = ? ORDER BY outcome.id DESC LIMIT ?

-- name: again_of_class
SELECT submission, ranges FROM again WHERE class = ? ORDER BY id

-- name: spans_of_class
SELECT submission, first, size, ids, next FROM span WHERE class = ? ORDER BY id

-- name: chunks_of_class
SELECT id, attempt, ranges, agent, started FROM chunk WHERE class = ? ORDER BY id

-- name: read_class
SELECT resources FROM class WHERE id = ?

-- name: used_tags
SELECT DISTINCT tag FROM tag ORDER BY tag

-- name: tried_before
SELECT parent, failure FROM submission WHERE id = ? AND parent IS NOT NULL
