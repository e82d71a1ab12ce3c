// SPDX-License-Identifier: Apache-2.0
//! Agents that keep a connection, and those that do not.
