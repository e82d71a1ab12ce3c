// SPDX-License-Identifier: Apache-2.0
//! The documents of the API against the running daemon.
