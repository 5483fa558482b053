-- name: all_problems
SELECT name, function, data, seed, cache, takes FROM problem ORDER BY rowid

-- name: put_problem
INSERT INTO problem (name, function, data, seed, cache, takes) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET function = excluded.function, data = excluded.data,
  seed = excluded.seed, cache = excluded.cache, takes = excluded.takes

-- name: drop_problem
DELETE FROM problem WHERE name = ?

-- name: all_algorithms
SELECT name, function, takes FROM algorithm ORDER BY rowid

-- name: put_algorithm
INSERT INTO algorithm (name, function, takes) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET function = excluded.function, takes = excluded.takes

-- name: drop_algorithm
DELETE FROM algorithm WHERE name = ?

-- name: last_definition
SELECT seq FROM sqlite_sequence WHERE name = 'definition'

-- name: add_definition
INSERT INTO definition (problem, algorithm, key, prob_key, algo_key, pars, id) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: find_definition
SELECT id, pars FROM definition WHERE key = ?

-- name: definitions_version
SELECT COUNT(*), COALESCE(MAX(id), 0) FROM definition

-- name: definition_names
SELECT id, problem, algorithm FROM definition ORDER BY id

-- name: definition_pars
SELECT id, prob_key, algo_key, problem, algorithm, pars FROM definition ORDER BY id

-- name: definition_of
SELECT problem, algorithm FROM definition WHERE id = ?

-- name: drop_definition
DELETE FROM definition WHERE id = ?

-- name: read_experiments
SELECT definition, repl FROM experiment WHERE k = ?

-- name: all_experiments
SELECT k, definition, repl FROM experiment

-- name: write_experiments
INSERT OR REPLACE INTO experiment (k, definition, repl) VALUES (?, ?, ?)
