-- What sessions on other hosts need.

-- name: add_request
INSERT OR IGNORE INTO request (id, done, answer) VALUES (?, ?, ?)

-- name: read_request
SELECT answer FROM request WHERE id = ?

-- name: forget_requests
DELETE FROM request WHERE done < ?
