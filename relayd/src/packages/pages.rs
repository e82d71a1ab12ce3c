// SPDX-License-Identifier: Apache-2.0
//! Pages of lists that are made in memory: sorted by a key, which is what `after` says.

use serde::{Serialize, de::DeserializeOwned};

use crate::fleet::{Page, Paging, Trouble};

/// The page of a list that is asked for. The key of each item is its own; items may have come and gone since
/// the last page.
pub fn page<T, K>(items: Vec<T>, paging: &Paging, key: impl Fn(&T) -> K) -> Result<Page<T>, Trouble>
where
    K: Ord + Serialize + DeserializeOwned,
{
    let unreadable = |_| Trouble::Asked("after: not what `next` said".into());
    let after: Option<K> =
        paging.after.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?;
    let keyed = items.into_iter().map(|item| (key(&item), item));
    let mut keyed: Vec<_> = keyed.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).collect();
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    keyed.truncate(paging.limit + 1);
    let page = Page::cut(keyed, paging.limit, |(key, _)| serde_json::to_string(key).unwrap_or_default());
    Ok(Page { items: page.items.into_iter().map(|(_, item)| item).collect(), next: page.next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_last_one_ended_whatever_has_gone() {
        let asked = |after: Option<&str>| Paging { after: after.map(Into::into), limit: 2 };
        let key = |item: &&'static str| (item.len(), (*item).to_owned());
        let first = page(vec!["ccc", "b\"", "a", "dddd"], &asked(None), key).unwrap();
        assert_eq!(first.items, ["a", "b\""]);
        let second = page(vec!["ccc", "dddd"], &asked(first.next.as_deref()), key).unwrap();
        assert_eq!((second.items.as_slice(), second.next), (&["ccc", "dddd"][..], None));
        assert!(page(vec!["a"], &asked(Some("?")), key).is_err());
    }
}
