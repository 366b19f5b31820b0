//! Objects by id. An id is a kind, a generation and a place, never an address: one that was made
//! up, is of another kind or names something destroyed is an error and finds nothing.

use crate::edge::lock;
use crate::error::Error;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A profile and what decodes it.
    Config = 1,
    /// A stream.
    Context = 2,
    /// A picture.
    Surface = 3,
    /// Parameters or data.
    Buffer = 4,
    /// A picture that the processor sees.
    Image = 5,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Config => "config",
            Kind::Context => "context",
            Kind::Surface => "surface",
            Kind::Buffer => "buffer",
            Kind::Image => "image",
        })
    }
}

const PLACE_BITS: u32 = 14;
const KIND_SHIFT: u32 = 28;
const MASK: u32 = (1 << PLACE_BITS) - 1;

/// All objects of a kind.
#[derive(Debug)]
pub struct Table<T> {
    kind: Kind,
    rows: Mutex<Rows<T>>,
}

#[derive(Debug)]
struct Rows<T> {
    rows: Vec<Row<T>>,
    /// Places that are free; the one that is free the longest is taken first, so that an id stays
    /// unknown for long after its object is gone.
    free: VecDeque<u32>,
}

#[derive(Debug)]
struct Row<T> {
    generation: u32,
    item: Option<Arc<T>>,
}

impl<T> Table<T> {
    /// No objects yet.
    pub fn new(kind: Kind) -> Table<T> {
        let rows = Rows {
            rows: Vec::new(),
            free: VecDeque::new(),
        };
        Table {
            kind,
            rows: Mutex::new(rows),
        }
    }

    /// Keeps an object and names it.
    ///
    /// # Errors
    /// There are too many.
    pub fn insert(&self, item: Arc<T>) -> Result<u32, Error> {
        let mut rows = lock(&self.rows);
        let place = match rows.free.pop_front() {
            Some(place) => place,
            None if rows.rows.len() as u32 > MASK => return Err(Error::Full(self.kind)),
            None => {
                rows.rows.push(Row {
                    generation: 0,
                    item: None,
                });
                rows.rows.len() as u32 - 1
            }
        };
        let row = &mut rows.rows[place as usize];
        row.item = Some(item);
        Ok((self.kind as u32) << KIND_SHIFT | row.generation << PLACE_BITS | place)
    }

    /// The object of an id.
    ///
    /// # Errors
    /// The id names nothing here.
    pub fn get(&self, id: u32) -> Result<Arc<T>, Error> {
        let mut rows = lock(&self.rows);
        let found = self.row(&mut rows, id).and_then(|row| row.item.clone());
        found.ok_or(Error::Absent(self.kind, id))
    }

    /// The objects of ids, one after the other, for which the table is locked once.
    pub fn each(&self, ids: &[u32], mut take: impl FnMut(Result<Arc<T>, Error>)) {
        let mut rows = lock(&self.rows);
        for id in ids {
            let found = self.row(&mut rows, *id).and_then(|row| row.item.clone());
            take(found.ok_or(Error::Absent(self.kind, *id)));
        }
    }

    /// Whether an id names an object.
    ///
    /// # Errors
    /// It names nothing here.
    pub fn check(&self, id: u32) -> Result<(), Error> {
        let mut rows = lock(&self.rows);
        let row = self.row(&mut rows, id);
        let found = row.filter(|row| row.item.is_some());
        found.map(|_| ()).ok_or(Error::Absent(self.kind, id))
    }

    /// Forgets the object of an id, which whoever uses it keeps until then.
    ///
    /// # Errors
    /// The id names nothing here.
    pub fn remove(&self, id: u32) -> Result<Arc<T>, Error> {
        let mut rows = lock(&self.rows);
        let row = self.row(&mut rows, id);
        let found = row.and_then(|row| {
            let item = row.item.take()?;
            row.generation = (row.generation + 1) & MASK;
            Some(item)
        });
        let item = found.ok_or(Error::Absent(self.kind, id))?;
        rows.free.push_back(id & MASK);
        Ok(item)
    }

    /// Forgets all objects.
    pub fn clear(&self) -> Vec<Arc<T>> {
        let mut rows = lock(&self.rows);
        rows.free.clear();
        let all = rows.rows.drain(..).filter_map(|row| row.item);
        all.collect()
    }

    fn row<'a>(&self, rows: &'a mut Rows<T>, id: u32) -> Option<&'a mut Row<T>> {
        let row = rows.rows.get_mut((id & MASK) as usize)?;
        let is_named =
            id >> KIND_SHIFT == self.kind as u32 && id >> PLACE_BITS & MASK == row.generation;
        is_named.then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_one_object_and_nothing_after_it() {
        let table = Table::new(Kind::Surface);
        let other = Table::new(Kind::Buffer);
        let first = table.insert(Arc::new(1)).unwrap();
        let second = table.insert(Arc::new(2)).unwrap();
        let foreign = other.insert(Arc::new(3)).unwrap();
        assert_eq!(
            (*table.get(first).unwrap(), *table.get(second).unwrap()),
            (1, 2)
        );
        table.remove(first).unwrap();
        let third = table.insert(Arc::new(4)).unwrap();
        assert_eq!(*table.get(third).unwrap(), 4);
        for id in [first, foreign, 0, u32::MAX, second + 1, second + (1 << 14)] {
            assert!(table.get(id).is_err(), "{id:#x}");
            assert!(table.remove(id).is_err(), "{id:#x}");
        }
    }

    #[test]
    fn there_is_an_end_of_ids() {
        let table = Table::new(Kind::Config);
        let ids: Vec<u32> = (0..1 << PLACE_BITS)
            .map(|item| table.insert(Arc::new(item)).unwrap())
            .collect();
        assert!(matches!(table.insert(Arc::new(0)), Err(Error::Full(_))));
        table.remove(ids[7]).unwrap();
        assert!(!ids.contains(&table.insert(Arc::new(0)).unwrap()));
    }
}
