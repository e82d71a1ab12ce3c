// SPDX-License-Identifier: Apache-2.0
//! Logging to the terminal, with filters that can be reloaded.
