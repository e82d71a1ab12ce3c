-- SPDX-License-Identifier: Apache-2.0
-- A fleet, as relayd's tables would hold it after a day. NODES, RUNS (of each node, five minutes apart), ROWS (of each
-- run but the last, which has 72) and LATEST (Unix time of the last run) stand for numbers. Run i of a node has the state
-- of its segment: six of them, between which results change. What is content-addressed has digests of its own here.
SET statement_timeout = 0;
SET synchronous_commit = off;

CREATE TEMP TABLE fleet AS SELECT n, md5('node ' || n)::uuid::text AS nodeid, n % 20 AS grp FROM generate_series(1, NODES) n;
INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, decided, last_contact, version)
SELECT nodeid, 'host-' || n || '.example.com', 'accepted', 'node', 'root', LATEST - 90000, LATEST - 90000, LATEST, 1 FROM fleet;

-- 20 groups of nodes with 46 components each, any of which is right, repaired or wrong.
CREATE TEMP TABLE key AS SELECT grp, c, s, sha256(convert_to(format('result %s %s %s', grp, c, s), 'UTF8')) AS digest,
    md5(format('rule %s %s', grp, c % 12))::uuid::text AS ruleid,
    md5(format('directive %s %s', grp, c))::uuid::text AS directiveid
FROM generate_series(0, 19) grp, generate_series(0, 45) c, generate_series(0, 2) s;
INSERT INTO compliance_result (digest, ruleid, directiveid, reportid, policy, component, keyvalue, eventtype)
SELECT digest, ruleid, directiveid, '0', 'technique ' || c % 6, 'component ' || c, 'key ' || c,
    (ARRAY['result_success', 'result_repaired', 'result_error'])[s + 1]
FROM key;

-- 100 variants of each group: none or one of the components is not right.
CREATE TEMP TABLE variant AS
SELECT grp, v, sha256(convert_to(format('set %s %s', grp, v), 'UTF8')) AS digest,
    CASE WHEN v = 0 THEN -1 ELSE (v * 7) % 46 END AS c, 1 + v % 2 AS s
FROM generate_series(0, 19) grp, generate_series(0, 99) v;
INSERT INTO compliance_set (digest, results, success, repaired, error, na,
    audit_compliant, audit_noncompliant, audit_error, audit_na)
SELECT v.digest, string_agg(r.id::text, ',' ORDER BY r.id), count(*) FILTER (WHERE k.s = 0),
    count(*) FILTER (WHERE k.s = 1), count(*) FILTER (WHERE k.s = 2), 0, 0, 0, 0, 0
FROM variant v JOIN key k ON k.grp = v.grp AND k.s = CASE WHEN k.c = v.c THEN v.s ELSE 0 END
JOIN compliance_result r ON r.digest = k.digest
GROUP BY v.digest;

CREATE TEMP TABLE segment AS
SELECT f.n, f.nodeid, i, v.c, v.s, cs.id AS set_id,
    LATEST - f.n % 300 - 300 * (RUNS - 1 - i * RUNS / 6) AS since,
    LATEST - f.n % 300 - 300 * (RUNS - (i + 1) * RUNS / 6) AS last
FROM fleet f CROSS JOIN generate_series(0, 5) i
JOIN variant v ON v.grp = f.grp AND v.v = CASE WHEN (f.n + i) % 3 = 0 THEN (f.n * 31 + i * 17) % 100 ELSE 0 END
JOIN compliance_set cs ON cs.digest = v.digest;
INSERT INTO compliance_history (nodeid, since, last, set_id)
SELECT nodeid, since, last, set_id FROM segment WHERE i < 5 ORDER BY last;
INSERT INTO compliance_current (nodeid, since, last, configid, set_id)
SELECT nodeid, since, last, 'day', set_id FROM segment WHERE i = 5;

INSERT INTO reportsexecution (nodeid, date, nodeconfigid, insertionid)
SELECT nodeid, to_timestamp(LATEST - n % 300 - 300 * (RUNS - 1 - r)), 'day', 101 + (r * NODES + n - 1) * ROWS
FROM generate_series(0, RUNS - 1) r, fleet;
INSERT INTO run_log (nodeid, digest, date, file, reports, insertionid)
SELECT nodeid, sha256(convert_to(nodeid || r, 'UTF8')), to_timestamp(LATEST - n % 300 - 300 * (RUNS - 1 - r)),
    to_char(to_timestamp(LATEST - n % 300 - 300 * (RUNS - 1 - r)), 'YYYY-MM-DD"T"HH24:MI:SS+00:00@') || nodeid || '.log.gz',
    ROWS, 101 + (r * NODES + n - 1) * ROWS
FROM generate_series(0, RUNS - 1) r, fleet;

-- All runs but the last: as many rows as asked for, most of them results.
INSERT INTO ruddersysevents (id, executiondate, nodeid, directiveid, ruleid, reportid, component, keyvalue,
    executiontimestamp, eventtype, policy, msg)
SELECT 101 + (r * NODES + f.n - 1) * ROWS + k.c, start, nodeid, k.directiveid, k.ruleid, '0', 'component ' || k.c,
    'key ' || k.c, start, CASE WHEN k.c % 3 = 1 THEN 'log_info' ELSE 'result_success' END, 'technique ' || k.c % 6,
    'The file was already built from its template, mode 0644, in ' || k.c || ' ms'
FROM generate_series(0, RUNS - 2) r CROSS JOIN fleet f JOIN key k ON k.grp = f.grp AND k.s = 0 AND k.c < ROWS,
    LATERAL (SELECT to_timestamp(LATEST - f.n % 300 - 300 * (RUNS - 1 - r))) AS t (start);

-- The last: two control reports, 46 results, 24 details before some of them.
SELECT setval('serial', 101 + RUNS::bigint * NODES * ROWS);
INSERT INTO ruddersysevents (executiondate, nodeid, directiveid, ruleid, reportid, component, keyvalue,
    executiontimestamp, eventtype, policy, msg)
SELECT start, s.nodeid, coalesce(k.directiveid, 'run'), coalesce(k.ruleid, 'rudder'), '0', line.component, line.keyvalue,
    start, line.eventtype, line.policy, line.msg
FROM segment s JOIN fleet f USING (n)
CROSS JOIN LATERAL (SELECT to_timestamp(s.last)) AS t (start)
CROSS JOIN LATERAL (
    SELECT -1 AS c, 0 AS part, 'start' AS component, 'day' AS keyvalue, 'control' AS eventtype, 'Common' AS policy,
        'Start execution' AS msg
    UNION ALL SELECT 46, 0, 'end', 'day', 'control', 'Common', 'End execution'
    UNION ALL SELECT c, part, 'component ' || c, 'key ' || c,
        CASE WHEN part = 1 THEN 'log_warn' WHEN c <> s.c THEN 'result_success'
            WHEN s.s = 1 THEN 'result_repaired' ELSE 'result_error' END,
        'technique ' || c % 6, 'The file was already built from its template, mode 0644'
    FROM generate_series(0, 45) c, generate_series(1, 2) part WHERE part = 2 OR c % 2 = 0
) AS line
LEFT JOIN key k ON k.grp = f.grp AND k.s = 0 AND k.c = line.c
WHERE s.i = 5
ORDER BY s.n, line.c, line.part;

-- 3,000 names in two distributions and four versions; 40 kinds of nodes with 2,000 of them, which differ a little.
INSERT INTO package (digest, name, version, arch, kind, publisher)
SELECT sha256(convert_to(format('package %s %s %s', d, j, v), 'UTF8')), 'package-' || j, format('1.%s.%s-%s', j % 7, v, d + 1),
    'amd64', 'dpkg', 'Maintainers'
FROM generate_series(0, 1) d, generate_series(0, 2999) j, generate_series(0, 3) v;
CREATE TEMP TABLE chunk AS
SELECT p, alt, b, string_agg(id::text, ',' ORDER BY id) AS packages FROM (
    SELECT p, alt, get_byte(sha256(convert_to('package-' || j, 'UTF8')), 0) % 64 AS b, pk.id
    FROM generate_series(0, 39) p, generate_series(0, 1) alt, generate_series(0, 2999) j
    JOIN package pk ON pk.name = 'package-' || j
    WHERE (j * 7 + p) % 3 <> 0
    AND pk.version = format('1.%s.%s-%s', j % 7, (j + p) % 3 + alt, p % 2 + 1)
) AS member GROUP BY p, alt, b;
INSERT INTO package_chunk (digest, bucket, packages)
SELECT DISTINCT sha256(convert_to(packages, 'UTF8')), b, packages FROM chunk;
INSERT INTO inventory_facts (digest, content) VALUES (sha256('{}'), 'FACTS');
INSERT INTO inventory (nodeid, received, made, since, digest, agent, agent_version, hostname, os_name, os_version,
    os_full_name, arch, kernel, facts_id, chunks)
SELECT f.nodeid, LATEST, LATEST, LATEST, sha256(convert_to(f.nodeid, 'UTF8')), 'cfengine-community', '8.3.0',
    'host-' || f.n || '.example.com', 'Debian', '12', 'Debian GNU/Linux 12 (bookworm)', 'x86_64', '6.1.0',
    (SELECT id FROM inventory_facts LIMIT 1), string_agg(coalesce(pc.id, 0)::text, ',' ORDER BY bucket.b)
FROM fleet f CROSS JOIN generate_series(0, 63) AS bucket (b)
LEFT JOIN chunk c ON c.p = f.n % 40 AND c.b = bucket.b AND c.alt = ((bucket.b + f.n / 40 % 5) % 16 = 0)::int
LEFT JOIN package_chunk pc ON pc.bucket = c.b AND pc.packages = c.packages
GROUP BY f.n, f.nodeid;
ANALYZE;
