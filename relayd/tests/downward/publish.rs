// SPDX-License-Identifier: Apache-2.0
//! Publishing, activating, going back.
