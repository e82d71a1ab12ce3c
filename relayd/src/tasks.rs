// SPDX-License-Identifier: Apache-2.0
//! Named, supervised background tasks: one that ends unasked is fatal.
