"""The SQL of the timeline, for DuckDB: what is read of each kind of evidence, and how they are put together.

Columns are named, never sniffed: a field that is not named here is evidence, but not asked about. A malformed line of
the live log becomes a row of nulls (DuckDB's `ignore_errors`), which the null time gives away; a field of an
unexpected type does not cost its row.
"""

CREATE = """
CREATE SEQUENCE positions;
CREATE TABLE entries (
    position BIGINT DEFAULT nextval('positions'),
    entry STRUCT(
        "type" VARCHAR, decision VARCHAR, "at" BIGINT, outcome VARCHAR, reasons VARCHAR[], reason VARCHAR,
        policies VARCHAR[], principal VARCHAR, "name" VARCHAR, "action" VARCHAR, resource VARCHAR,
        resources VARCHAR[], project VARCHAR, detail VARCHAR, hop VARCHAR, effect VARCHAR, scope VARCHAR,
        subject VARCHAR, actor VARCHAR, because VARCHAR, session VARCHAR, job VARCHAR,
        cause VARCHAR, status BIGINT, step VARCHAR, "grant" VARCHAR, job_name VARCHAR,
        "count" BIGINT, "statements" VARCHAR[]
    )
);
CREATE TABLE access (
    "time" BIGINT, decision VARCHAR, asked BOOLEAN, reason VARCHAR, "method" VARCHAR, host VARCHAR, path VARCHAR,
    status INTEGER, grpc_status INTEGER, flags VARCHAR, detail VARCHAR
);
"""

INSERT_ENTRIES = """
INSERT INTO entries (entry)
SELECT from_json(line::JSON, '{
    "type": "VARCHAR", "decision": "VARCHAR", "at": "BIGINT", "outcome": "VARCHAR", "reasons": ["VARCHAR"],
    "reason": "VARCHAR", "policies": ["VARCHAR"], "principal": "VARCHAR", "name": "VARCHAR", "action": "VARCHAR",
    "resource": "VARCHAR", "resources": ["VARCHAR"], "project": "VARCHAR", "detail": "VARCHAR", "hop": "VARCHAR",
    "effect": "VARCHAR", "scope": "VARCHAR", "subject": "VARCHAR", "actor": "VARCHAR", "because": "VARCHAR",
    "session": "VARCHAR", "job": "VARCHAR", "cause": "VARCHAR", "status": "BIGINT",
    "step": "VARCHAR", "grant": "VARCHAR", "job_name": "VARCHAR", "count": "BIGINT", "statements": ["VARCHAR"]
}')
FROM (SELECT unnest(?::VARCHAR[]) AS line)
"""

INSERT_ACCESS = """
INSERT INTO access
SELECT "time", decision, try_cast(asked AS BOOLEAN), reason, "method", host, path, try_cast(status AS INTEGER),
    try_cast(grpc_status AS INTEGER), flags, detail
FROM read_json($paths, format = 'newline_delimited', ignore_errors = true, columns = {
    "time": 'BIGINT', decision: 'VARCHAR', asked: 'VARCHAR', reason: 'VARCHAR', "method": 'VARCHAR', host: 'VARCHAR',
    path: 'VARCHAR', status: 'VARCHAR', grpc_status: 'VARCHAR', flags: 'VARCHAR', detail: 'VARCHAR'
})
WHERE "time" >= $since AND "time" < $until
"""

TIMELINE = """
WITH decisions AS (
    SELECT position, entry.* FROM entries WHERE entry.type = 'decision'
    QUALIFY row_number() OVER (PARTITION BY entry.decision ORDER BY position) = 1
),
happened AS (
    SELECT "at" AS "time", 0 AS rank, position, 'decision' AS kind, decision, outcome, reasons, 0 AS status, detail,
        NULL AS actor, NULL AS "name", NULL AS subject
    FROM decisions
    UNION ALL
    SELECT entry.at, 1, position, 'outcome', entry.decision, 'failed', [entry.reason], 0,
        concat_ws(': ', entry.hop, entry.detail), NULL, NULL, NULL
    FROM entries WHERE entry.type = 'outcome'
    UNION ALL
    SELECT entry.at, 1, position, 'started', entry.decision, 'started', NULL, 0, NULL, entry.principal, NULL,
        entry.resource
    FROM entries WHERE entry.type = 'started'
    UNION ALL
    SELECT entry.at, 3, position, 'answer', entry.decision, 'refused', [entry.cause], coalesce(entry.status, 0),
        entry.detail, NULL, NULL, NULL
    FROM entries WHERE entry.type = 'answer'
    UNION ALL
    SELECT entry.at, 1, position, 'revocation', coalesce(entry.decision, ''), entry.effect, NULL, 0,
        concat_ws(' ', entry.scope, nullif(entry.because, '')), entry.actor, entry."name", entry.subject
    FROM entries WHERE entry.type = 'revocation'
    UNION ALL
    SELECT entry.at, 1, position, 'grant', coalesce(entry.decision, ''), entry.step, NULL, 0,
        concat_ws(' ', entry."grant", 'of', entry.principal, 'for', entry.action, nullif(entry.because, '')),
        entry.actor, entry."name", entry.resource
    FROM entries WHERE entry.type = 'grant'
    UNION ALL
    SELECT entry.at, 1, position, 'run', coalesce(entry.decision, ''), entry.step, NULL, 0,
        concat_ws(' ', entry.job_name, 'in ' || nullif(entry.project, '')), entry.principal, entry."name", entry.job
    FROM entries WHERE entry.type = 'run'
    UNION ALL
    SELECT entry.at, 1, position, 'statements', coalesce(entry.decision, ''), 'ran', NULL, 0,
        concat(entry."count", ': ', array_to_string(entry."statements", '; ')), entry.principal, NULL,
        entry.resource
    FROM entries WHERE entry.type = 'statements'
    UNION ALL
    SELECT "time", 2, rowid, 'access', coalesce(decision, ''), NULL, if(reason IS NULL, NULL, [reason]),
        coalesce(status, 0),
        concat_ws(' ', "method", concat(host, path), 'grpc ' || grpc_status, nullif(flags, '-'), detail,
            if(decision IS NOT NULL AND asked IS NULL, 'lease', NULL)), NULL, NULL, NULL
    FROM access
)
SELECT
    h."time", h.kind, coalesce(h.actor, d.principal, ''), coalesce(d.name, h.name, ''), coalesce(d.action, ''),
    coalesce(h.subject, d.resource, ''), coalesce(d.project, ''), coalesce(h.outcome, d.outcome, '') AS outcome,
    coalesce(h.reasons, d.reasons, []), coalesce(d.policies, []), h.decision, h.status, coalesce(h.detail, ''),
    coalesce(d.session, ''), coalesce(d.job, if(h.kind = 'run', h.subject, NULL), '')
FROM happened h LEFT JOIN decisions d ON d.decision = h.decision AND h.decision <> ''
WHERE ($since = 0 OR h."time" >= $since)
    AND ($until = 0 OR h."time" < $until)
    AND ($who = '' OR h.actor = $who OR h.subject = $who OR lower(h.name) = lower($who)
        OR d.principal = $who OR lower(d.name) = lower($who))
    AND ($action = '' OR d.action = $action OR ends_with(d.action, '.' || $action))
    AND ($resource = '' OR contains(d.resource, $resource) OR contains(h.subject, $resource)
        OR len(list_filter(d.resources, lambda name: contains(name, $resource))) > 0)
    AND ($project = '' OR d.project = $project)
    AND ($outcome = '' OR coalesce(h.outcome, d.outcome, '') = $outcome)
    AND ($decision = '' OR h.decision = $decision)
    AND ($everything OR h.kind <> 'access' OR h.decision <> '' OR h.status >= 400)
ORDER BY h."time" DESC, h.rank DESC, h.position DESC
LIMIT $limit
"""
