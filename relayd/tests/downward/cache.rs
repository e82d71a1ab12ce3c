// SPDX-License-Identifier: Apache-2.0
//! What a relay fetches and keeps.
