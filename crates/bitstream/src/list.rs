//! A short list that lies in place: what a header may repeat a known number of times, without an
//! allocation per picture.

use std::ops::{Deref, DerefMut};

/// At most `N` items, held inline.
#[derive(Clone, Copy)]
pub struct List<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `item`, or tells that there is no room.
    pub fn push(&mut self, item: T) -> Result<(), Full> {
        let place = self.items.get_mut(self.len).ok_or(Full)?;
        *place = item;
        self.len += 1;
        Ok(())
    }

    /// Keeps the items that `keep` likes, in their order.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        let mut kept = 0;
        for index in 0..self.len {
            if keep(&self.items[index]) {
                self.items[kept] = self.items[index];
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Drops all items.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

/// A [`List`] has no room for another item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for another item")]
pub struct Full;

impl<T: Copy + Default, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        List {
            items: [T::default(); N],
            len: 0,
        }
    }
}

impl<T, const N: usize> Deref for List<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..self.len]
    }
}

impl<T, const N: usize> DerefMut for List<T, N> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items[..self.len]
    }
}

impl<T: PartialEq, const N: usize> PartialEq for List<T, N> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq, const N: usize> Eq for List<T, N> {}

impl<T: std::fmt::Debug, const N: usize> std::fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_what_fits_and_forgets_what_it_dropped() {
        let mut list = List::<u8, 3>::new();
        for item in 1..=3 {
            list.push(item).unwrap();
        }
        assert_eq!(list.push(4), Err(Full));
        list.retain(|item| item % 2 == 1);
        assert_eq!(*list, [1, 3]);
        let mut other = List::<u8, 3>::new();
        other.push(1).unwrap();
        assert_ne!(list, other);
        other.push(3).unwrap();
        assert_eq!(list, other);
        list.clear();
        assert!(list.is_empty());
    }
}
