-- name: tables
SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name

-- name: epochs
SELECT epoch FROM submission UNION SELECT value FROM meta WHERE key = 'epoch'

-- name: submissions
SELECT id FROM submission ORDER BY id

-- name: drop_submission
DELETE FROM submission WHERE id = ?

-- name: ended_agents
SELECT id, info FROM agent WHERE ended IS NOT NULL

-- name: drop_tags
DELETE FROM tag WHERE job = ?
