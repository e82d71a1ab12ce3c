// SPDX-License-Identifier: Apache-2.0
//! Both versions, against agents and relays that are played.
