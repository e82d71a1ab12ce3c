// SPDX-License-Identifier: Apache-2.0
//! Policies reach the agent: published, changed, altered on the way, gone back.
