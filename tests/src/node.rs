// SPDX-License-Identifier: Apache-2.0
//! A machine with the agent.
