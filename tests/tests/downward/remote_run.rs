// SPDX-License-Identifier: Apache-2.0
//! Runs that operators ask for, over relays.
