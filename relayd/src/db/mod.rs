// SPDX-License-Identifier: Apache-2.0
//! The database: PostgreSQL or SQLite.
