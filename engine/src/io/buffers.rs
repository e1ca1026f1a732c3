//! The buffers that the kernel receives into: two groups for connections, and one for datagrams.
//!
//! Each group is a provided buffer ring: the kernel takes a buffer from its head when bytes come,
//! and what the loop has read goes back to its tail. The order of use is the order of return.
//!
//! Invariant: a buffer is either in the ring, and then only the kernel touches its bytes, or lent
//! out by exactly one [`Lease`], and then only we do.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::datagrams::{BUFFER_BYTES, BUFFER_COUNT};
use super::error::RingError;
use super::{Group, Lease};

/// Most buffers of a group: the kernel's limit.
const COUNT_MAX: u16 = 1 << 15;

/// Largest buffer: more than a socket buffer holds is never used.
const BYTES_MAX: u32 = 16 << 20;

/// How many receive buffers there are, and of what size. Fixed pools, touched as they are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BufferConfig {
    /// Bytes of a small buffer, for gossip.
    pub small_bytes: u32,
    /// Small buffers: a power of two, more than there are connections ready at once.
    pub small_count: u16,
    /// Bytes of a large buffer, for connections that are assembling a large frame.
    pub large_bytes: u32,
    /// Large buffers: a power of two.
    pub large_count: u16,
}

impl Default for BufferConfig {
    /// 16 MiB of small ones and 8 MiB of large ones. Measured: gossip wants many small buffers
    /// (too few cost 1.65 times the CPU), bulk wants 64 KiB.
    fn default() -> Self {
        Self { small_bytes: 4 << 10, small_count: 4096, large_bytes: 64 << 10, large_count: 128 }
    }
}

impl BufferConfig {
    /// Whether there can be such buffers.
    pub(crate) fn check(&self) -> Result<(), RingError> {
        let counts =
            [("buffers.small_count", self.small_count), ("buffers.large_count", self.large_count)];
        for (what, count) in counts {
            if !count.is_power_of_two() || count > COUNT_MAX {
                let must = "a power of two up to 32768";
                return Err(RingError::Size { what, value: count.into(), must });
            }
        }
        let sizes =
            [("buffers.small_bytes", self.small_bytes), ("buffers.large_bytes", self.large_bytes)];
        for (what, value) in sizes {
            if value == 0 || value > BYTES_MAX {
                return Err(RingError::Size { what, value, must: "from 1 byte to 16 MiB" });
            }
        }
        Ok(())
    }

    /// Bytes of both groups.
    pub(super) const fn memory_bytes(&self) -> usize {
        group_bytes(self.small_bytes, self.small_count)
            + group_bytes(self.large_bytes, self.large_count)
    }
}

/// Bytes of the group for datagrams.
pub(super) const DATAGRAM_GROUP_BYTES: usize = group_bytes(BUFFER_BYTES, BUFFER_COUNT);

/// Bytes of the entries and the buffers of a group.
const fn group_bytes(buffer_bytes: u32, count: u16) -> usize {
    count as usize * (size_of::<BufRingEntry>() + buffer_bytes as usize)
}

/// All groups.
pub(super) struct RecvBuffers {
    small: Pool,
    large: Pool,
    /// Once there is a socket for them.
    datagrams: Option<Pool>,
}

impl RecvBuffers {
    /// Allocates those of connections; the kernel does not know them yet.
    pub(super) fn new(config: BufferConfig) -> Result<Self, RingError> {
        config.check()?;
        let BufferConfig { small_bytes, small_count, large_bytes, large_count } = config;
        Ok(Self {
            small: Pool::new(Group::Small, small_bytes, small_count)?,
            large: Pool::new(Group::Large, large_bytes, large_count)?,
            datagrams: None,
        })
    }

    /// Registers the groups of connections.
    ///
    /// # Safety
    ///
    /// The buffers must outlive the ring of the submitter and every operation in it.
    pub(super) unsafe fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        for pool in [&self.small, &self.large] {
            // SAFETY: as the caller promises.
            unsafe { pool.register(submitter) }?;
        }
        Ok(())
    }

    /// Allocates and registers the group for datagrams.
    ///
    /// # Safety
    ///
    /// The buffers must outlive the ring of the submitter and every operation in it.
    pub(super) unsafe fn add_datagrams(&mut self, submitter: &Submitter<'_>) -> io::Result<()> {
        let pool = Pool::new(Group::Datagrams, BUFFER_BYTES, BUFFER_COUNT)
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: as the caller promises.
        unsafe { self.datagrams.insert(pool).register(submitter) }
    }

    /// Shows the kernel what was given back since the last time.
    pub(super) fn publish(&mut self) {
        self.small.publish();
        self.large.publish();
        if let Some(pool) = &mut self.datagrams {
            pool.publish();
        }
    }

    /// The kernel has filled a buffer.
    pub(super) fn lend(&mut self, group: Group, buffer: u16, bytes: u32) -> Lease {
        self.pool_mut(group).lend(buffer, bytes)
    }

    /// The kernel ran out of the buffers of a group that it was shown.
    pub(super) fn ran_out(&mut self, group: Group) {
        self.pool_mut(group).ran_out = true;
    }

    /// The bytes of a lease.
    pub(super) fn bytes(&self, lease: &Lease) -> &[u8] {
        self.pool(lease.group).bytes(lease)
    }

    /// A lease comes home.
    pub(super) fn give_back(&mut self, lease: Lease) {
        self.pool_mut(lease.group).give_back(lease);
    }

    /// Buffers of a group that are not lent out.
    pub(super) fn free(&self, group: Group) -> u32 {
        self.count(group) - self.pool(group).lent_count
    }

    /// Buffers of a group that the kernel has after the next publication.
    pub(super) fn shown(&self, group: Group) -> u32 {
        let pool = self.pool(group);
        pool.window.min(pool.shown + pool.home.len() as u32)
    }

    /// Buffers of a group in all.
    pub(super) fn count(&self, group: Group) -> u32 {
        u32::from(self.pool(group).count)
    }

    /// Bytes mapped for all groups.
    pub(super) fn mapped_bytes(&self) -> usize {
        let pools = [&self.small, &self.large].into_iter().chain(&self.datagrams);
        pools.map(|pool| pool.entries.bytes + pool.memory.bytes).sum()
    }

    const fn pool(&self, group: Group) -> &Pool {
        match group {
            Group::Small => &self.small,
            Group::Large => &self.large,
            Group::Datagrams => self.datagrams.as_ref().expect("datagrams come to a socket"),
        }
    }

    const fn pool_mut(&mut self, group: Group) -> &mut Pool {
        match group {
            Group::Small => &mut self.small,
            Group::Large => &mut self.large,
            Group::Datagrams => self.datagrams.as_mut().expect("datagrams come to a socket"),
        }
    }
}

/// The number under which the kernel knows a group.
pub(super) const fn group_id(group: Group) -> u16 {
    match group {
        Group::Small => 0,
        Group::Large => 1,
        Group::Datagrams => 2,
    }
}

/// One group: its ring of entries and the memory that they point into.
struct Pool {
    group: Group,
    /// `count` entries of 16 bytes, read by the kernel.
    entries: Mapping,
    /// `count` buffers, one after the other.
    memory: Mapping,
    buffer_bytes: u32,
    /// A power of two.
    count: u16,
    /// Where the next returned buffer goes; counts on and wraps.
    tail: u16,
    /// The tail that the kernel sees.
    published: u16,
    /// Which buffers are lent out.
    lent: Vec<bool>,
    /// How many of them.
    lent_count: u32,
    /// At home and not shown to the kernel, the one used last on top: it is still in the cache.
    home: Vec<u16>,
    /// How many the kernel has, or will have with the next `publish`.
    shown: u32,
    /// How many it is to have. The kernel takes buffers in turn, so that with all of them shown
    /// each would have left the cache before it is used again.
    window: u32,
    /// The kernel had none left since the last publication.
    ran_out: bool,
    /// Fewest that the kernel had left at a publication of this period, and publications so far.
    spare_min: u32,
    publications: u32,
}

/// Buffers that the kernel is shown at least, in bytes: they stay in a usual second-level cache.
const WINDOW_BYTES_MIN: u32 = 512 << 10;

/// Publications after which a window that was never half used is halved.
const WINDOW_PERIOD: u32 = 1024;

impl Pool {
    fn new(group: Group, buffer_bytes: u32, count: u16) -> Result<Self, RingError> {
        let map = |bytes| {
            Mapping::new(bytes).map_err(|_| RingError::Memory { step: "map receive buffers" })
        };
        let mut pool = Self {
            group,
            entries: map(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: map(usize::from(count) * buffer_bytes as usize)?,
            buffer_bytes,
            count,
            tail: 0,
            published: 0,
            lent: vec![false; usize::from(count)],
            lent_count: 0,
            home: (0..count).rev().collect(),
            shown: 0,
            window: 0,
            ran_out: false,
            spare_min: 0,
            publications: 0,
        };
        pool.window = pool.window_min();
        pool.publish();
        Ok(pool)
    }

    /// Tells the kernel of it.
    ///
    /// # Safety
    ///
    /// It must outlive the ring of the submitter and every operation in it.
    unsafe fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        let (entries, id) = (self.entries.start.as_ptr() as u64, group_id(self.group));
        // SAFETY: the entries are page-aligned, `count` of them are mapped and initialised, and
        // the caller promises that they live long enough.
        unsafe { submitter.register_buf_ring_with_flags(entries, self.count, id, 0) }
    }

    /// Writes a buffer into the next entry; the kernel does not look at it before `publish`.
    fn append(&mut self, buffer: u16) {
        let address = self.address(buffer) as u64;
        let entry = usize::from(self.tail & (self.count - 1));
        // SAFETY: `entry < count`, so it lies in the mapping, which is aligned to a page, zeroed
        // (every bit pattern is an entry) and borrowed by nobody else: `self` is ours alone, and
        // the kernel reads entries only below the published tail. At most `count` buffers exist,
        // each is in the ring at most once, so the slot is not one that the kernel still reads.
        let entry = unsafe { &mut *self.entries.start.cast::<BufRingEntry>().as_ptr().add(entry) };
        // One field at a time: the tail that the kernel reads lies in the unused field of entry 0,
        // and writing that entry as a whole would destroy it.
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// The window at its smallest.
    fn window_min(&self) -> u32 {
        (WINDOW_BYTES_MIN / self.buffer_bytes).clamp(1, u32::from(self.count))
    }

    /// The window at its largest. Small buffers are mostly filled in part, so many of them still
    /// are little memory. Large ones come filled: when they run out, the connection waits for its
    /// turn, which costs less than what is read after it has left the cache.
    fn window_max(&self) -> u32 {
        match self.group {
            Group::Small | Group::Datagrams => u32::from(self.count),
            Group::Large => self.window_min(),
        }
    }

    /// Doubles the window when the kernel ran out, and halves it when for a whole period it was
    /// never half used.
    fn fit_window(&mut self) {
        self.spare_min = self.spare_min.min(self.shown);
        self.publications += 1;
        if std::mem::take(&mut self.ran_out) {
            self.window = (2 * self.window).min(self.window_max());
            (self.publications, self.spare_min) = (0, 0);
        } else if self.publications == WINDOW_PERIOD {
            if self.spare_min > self.window / 2 {
                self.window = (self.window / 2).max(self.window_min());
            }
            (self.publications, self.spare_min) = (0, self.window);
        }
    }

    fn publish(&mut self) {
        self.fit_window();
        while self.shown < self.window {
            let Some(buffer) = self.home.pop() else { break };
            self.append(buffer);
            self.shown += 1;
        }
        if self.published == self.tail {
            return;
        }
        // SAFETY: the mapping begins with entry 0, whose unused field is the tail; it is aligned
        // to two bytes and lives as long as `self`. All that we do to it is this atomic store.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.entries.start.cast::<BufRingEntry>().as_ptr());
            AtomicU16::from_ptr(tail.cast_mut())
        };
        // Release: the entries must be there before the kernel sees the tail beyond them.
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    fn lend(&mut self, buffer: u16, bytes: u32) -> Lease {
        let lent = &mut self.lent[usize::from(buffer)];
        assert!(!*lent, "the kernel filled a buffer that it did not have");
        assert!(bytes <= self.buffer_bytes, "the kernel filled more than the buffer holds");
        *lent = true;
        self.lent_count += 1;
        self.shown -= 1;
        Lease { group: self.group, buffer, start: 0, bytes }
    }

    fn bytes(&self, lease: &Lease) -> &[u8] {
        assert!(self.lent[usize::from(lease.buffer)], "a lease of a buffer that is not lent out");
        assert!(lease.start <= self.buffer_bytes - lease.bytes, "a lease beyond its buffer");
        // SAFETY: the buffer lies in the mapping, all of which is initialised (zeroed pages), and
        // both ends were checked: `lend` saw the bytes, and they begin where they still fit. It is
        // lent out, so the kernel does not write to it until it has been given back and published,
        // and both need `&mut self`.
        unsafe {
            let start = self.address(lease.buffer).add(lease.start as usize);
            std::slice::from_raw_parts(start, lease.bytes as usize)
        }
    }

    fn give_back(&mut self, lease: Lease) {
        let lent = &mut self.lent[usize::from(lease.buffer)];
        assert!(*lent, "a buffer was given back twice");
        *lent = false;
        self.lent_count -= 1;
        self.home.push(lease.buffer);
    }

    fn address(&self, buffer: u16) -> *const u8 {
        assert!(buffer < self.count);
        // SAFETY: `buffer < count`, so the offset lies in the mapping.
        unsafe { self.memory.start.as_ptr().add(usize::from(buffer) * self.buffer_bytes as usize) }
    }
}

/// Zeroed pages of our own, aligned to a page, unmapped when dropped. Not from the allocator:
/// the kernel wants the entries page-aligned, and untouched pages cost nothing.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("no mapping is at address zero");
        Ok(Self { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the pages are ours, mapped with this length, and nothing borrows from `self`
        // any more; `RecvBuffers::register` makes its caller keep them until the kernel is done.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert_eq!(result, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: BufferConfig =
        BufferConfig { small_bytes: 100, small_count: 4, large_bytes: 5000, large_count: 1 };

    /// What the kernel would read: the tail, and the buffers of all entries.
    fn seen_by_kernel(pool: &Pool) -> (u16, Vec<u16>) {
        let entries = pool.entries.start.cast::<BufRingEntry>().as_ptr();
        // SAFETY: the mapping holds `count` entries, and nobody writes to them now.
        unsafe {
            let entries = std::slice::from_raw_parts(entries, usize::from(pool.count));
            (*BufRingEntry::tail(entries.as_ptr()), entries.iter().map(BufRingEntry::bid).collect())
        }
    }

    #[test]
    fn a_buffer_is_seen_once_published_and_the_one_used_last_comes_first() {
        let mut buffers = RecvBuffers::new(FEW).unwrap();
        assert_eq!(seen_by_kernel(&buffers.small), (4, vec![0, 1, 2, 3]));
        let first = buffers.lend(Group::Small, 0, 100);
        let second = buffers.lend(Group::Small, 1, 1);
        assert_eq!((buffers.bytes(&first).len(), buffers.bytes(&second).len()), (100, 1));
        assert_eq!(buffers.free(Group::Small), 2);
        assert_eq!(buffers.free(Group::Large), 1);
        buffers.give_back(first);
        buffers.give_back(second);
        assert_eq!(seen_by_kernel(&buffers.small), (4, vec![0, 1, 2, 3]));
        buffers.publish();
        assert_eq!(seen_by_kernel(&buffers.small), (6, vec![1, 0, 2, 3]));
        assert_eq!(buffers.free(Group::Small), buffers.count(Group::Small));
    }

    #[test]
    fn few_buffers_are_shown_until_they_run_out_and_again_when_they_are_not_used() {
        let many = BufferConfig {
            small_bytes: 64 << 10,
            small_count: 64,
            large_bytes: 64 << 10,
            large_count: 64,
        };
        let mut buffers = RecvBuffers::new(many).unwrap();
        assert_eq!((buffers.shown(Group::Small), buffers.free(Group::Small)), (8, 64));
        for shown in [16, 32, 64, 64] {
            buffers.ran_out(Group::Small);
            buffers.ran_out(Group::Large);
            buffers.publish();
            assert_eq!((buffers.shown(Group::Small), buffers.shown(Group::Large)), (shown, 8));
        }
        for _ in 0..8 * WINDOW_PERIOD {
            buffers.publish();
        }
        assert_eq!(buffers.shown(Group::Small), 8);
        // What is lent out is not there to be shown.
        let lent: Vec<_> = (0..8).map(|n| buffers.lend(Group::Large, n, 1)).collect();
        buffers.publish();
        assert_eq!(buffers.shown(Group::Large), 8);
        lent.into_iter().for_each(|lease| buffers.give_back(lease));
    }

    #[test]
    fn the_tail_survives_entry_zero_and_wraps() {
        let mut buffers = RecvBuffers::new(FEW).unwrap();
        for _ in 0..1 << 16 {
            let lease = buffers.lend(Group::Large, 0, 5000);
            buffers.give_back(lease);
            buffers.publish();
        }
        assert_eq!(seen_by_kernel(&buffers.large), (1, vec![0]));
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn a_second_return_is_our_bug() {
        let mut buffers = RecvBuffers::new(FEW).unwrap();
        let Lease { group, buffer, start, bytes } = buffers.lend(Group::Small, 2, 7);
        buffers.give_back(Lease { group, buffer, start, bytes });
        buffers.give_back(Lease { group, buffer, start, bytes });
    }

    #[test]
    #[should_panic(expected = "that it did not have")]
    fn a_buffer_is_lent_once() {
        let mut buffers = RecvBuffers::new(FEW).unwrap();
        let _one = buffers.lend(Group::Small, 2, 7);
        let _two = buffers.lend(Group::Small, 2, 7);
    }

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        for wrong in [
            BufferConfig { small_count: 3, ..FEW },
            BufferConfig { large_count: 0, ..FEW },
            BufferConfig { large_bytes: 0, ..FEW },
            BufferConfig { small_bytes: u32::MAX, ..FEW },
        ] {
            assert!(matches!(RecvBuffers::new(wrong), Err(RingError::Size { .. })), "{wrong:?}");
        }
        assert!(RecvBuffers::new(BufferConfig::default()).is_ok());
    }
}
