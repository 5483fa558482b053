-- name: outcomes_after
SELECT id, rows FROM outcome WHERE id > ? ORDER BY id

-- name: newest_outcome_number
SELECT COALESCE(MAX(id), 0) FROM outcome

-- name: waiting_by_class
SELECT waiting.class, SUM(jobs), SUM(chunks), MIN(submitted) FROM (
  SELECT class, submission, size - next AS jobs, 0 AS chunks FROM span
  UNION ALL SELECT class, submission, size, 1 FROM chunk WHERE agent = ''
  UNION ALL SELECT class, submission, 0, 0 FROM again
) AS waiting JOIN submission ON submission.id = waiting.submission GROUP BY waiting.class

-- name: again_ranges
SELECT class, ranges FROM again
