-- name: add_allocation
INSERT INTO allocation (id, pool, kind, variables, submitted, ids) VALUES (?, ?, ?, ?, ?, '[]')

-- name: add_element
INSERT INTO element (allocation, number, id, state, reason, agent) VALUES (?, ?, '', 'submitting', '', '')

-- name: name_allocation
UPDATE allocation SET ids = ? WHERE id = ?

-- name: set_element
UPDATE element SET id = ?, state = ?, reason = ?, agent = ? WHERE allocation = ? AND number = ?

-- name: elements_alive
SELECT e.allocation, e.number, a.pool, a.kind, a.variables, a.submitted, e.id, e.state, e.reason, e.agent
FROM element e JOIN allocation a ON a.id = e.allocation WHERE e.state != 'ended'
ORDER BY a.submitted, e.allocation, e.number

-- name: elements_of
SELECT e.allocation, e.number, a.pool, a.kind, a.variables, a.submitted, e.id, e.state, e.reason, e.agent
FROM element e JOIN allocation a ON a.id = e.allocation WHERE e.allocation = ? ORDER BY e.number

-- name: read_element
SELECT e.allocation, e.number, a.pool, a.kind, a.variables, a.submitted, e.id, e.state, e.reason, e.agent
FROM element e JOIN allocation a ON a.id = e.allocation WHERE e.allocation = ? AND e.number = ?

-- name: forget_elements
DELETE FROM element

-- name: forget_allocations
DELETE FROM allocation

-- name: agent_info
SELECT info FROM agent WHERE id = ?

-- name: element_of_agent
SELECT allocation, number FROM element WHERE agent = ?
