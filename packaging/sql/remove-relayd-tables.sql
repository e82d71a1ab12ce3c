-- SPDX-License-Identifier: Apache-2.0
-- Removes from the reports database what relayd added, with relayd stopped and for good: the ledger, by which a run
-- log that comes twice is stored once, the registry of nodes, the state of the fleet, inventories. The tables of existing servers stay as they are.
BEGIN;
DROP TABLE IF EXISTS inventory, inventory_facts, inventory_updates, inventory_history, package, package_chunk;
DROP TABLE IF EXISTS node_instance, enrolment_token, node_conflict, node_certificate, node_key, node, node_registry;
DROP TABLE IF EXISTS compliance_history, compliance_current, compliance_set, compliance_result, compliance_generation;
DROP TABLE IF EXISTS run_log, retention;
DROP TABLE IF EXISTS __diesel_schema_migrations;
COMMIT;
