//! A table of what belongs to connections: by slot, checked by generation, walked in slot order.

use crate::event::ConnId;

/// Values by [`ConnId`]. A lookup with the id of an earlier use of the slot misses.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Slot<T>>,
    len: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), len: 0 }
    }
}

impl<T> Table<T> {
    /// How many values there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a value in. The slot must be free: the driver gives each id out once.
    ///
    /// # Panics
    ///
    /// If the slot is in use.
    pub fn insert(&mut self, conn: ConnId, value: T) {
        let index = conn.index() as usize;
        while self.slots.len() <= index {
            self.slots.push(Slot { generation: 0, value: None });
        }
        let slot = &mut self.slots[index];
        assert!(slot.value.is_none(), "slot {index} is in use");
        *slot = Slot { generation: conn.generation(), value: Some(value) };
        self.len += 1;
    }

    /// The value of this very use of the slot.
    #[must_use]
    pub fn get(&self, conn: ConnId) -> Option<&T> {
        let slot = self.slots.get(conn.index() as usize)?;
        if slot.generation == conn.generation() { slot.value.as_ref() } else { None }
    }

    /// The value of this very use of the slot.
    #[must_use]
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        let slot = self.slots.get_mut(conn.index() as usize)?;
        if slot.generation == conn.generation() { slot.value.as_mut() } else { None }
    }

    /// Takes the value out.
    pub fn remove(&mut self, conn: ConnId) -> Option<T> {
        let slot = self.slots.get_mut(conn.index() as usize)?;
        if slot.generation != conn.generation() {
            return None;
        }
        let value = slot.value.take();
        self.len -= usize::from(value.is_some());
        value
    }

    /// All values, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let conn = ConnId::new(index as u32, slot.generation);
            slot.value.as_ref().map(|value| (conn, value))
        })
    }

    /// The ids of all values, in slot order.
    #[must_use]
    pub fn ids(&self) -> Vec<ConnId> {
        self.iter().map(|(conn, _)| conn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_generation_misses() {
        let mut table = Table::default();
        let (old, new) = (ConnId::new(3, 1), ConnId::new(3, 2));
        table.insert(old, "old");
        assert_eq!(table.remove(old), Some("old"));
        table.insert(new, "new");
        assert_eq!(table.get(old), None);
        assert_eq!(table.get_mut(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get(new), Some(&"new"));
        assert_eq!((table.len(), table.ids()), (1, vec![new]));
    }

    #[test]
    #[should_panic(expected = "in use")]
    fn a_slot_is_not_given_out_twice() {
        let mut table = Table::default();
        table.insert(ConnId::new(0, 1), ());
        table.insert(ConnId::new(0, 2), ());
    }
}
