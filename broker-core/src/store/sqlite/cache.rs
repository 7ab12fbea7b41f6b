//! Records at hand.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};

use crate::{
    Consumer, InstanceName, OpaqueId,
    lifecycle::records::{BindingRecord, InstanceRecord},
};

/// What the cache may take, in bytes of sealed records.
pub(super) const CACHE_BYTES: u64 = 8 * 1024 * 1024;

/// Records that were read or written lately. A name without a record is remembered too.
pub(super) struct Records {
    pub(super) instances: Cache<InstanceName, Kept<InstanceRecord>, BySize>,
    pub(super) bindings: Cache<(OpaqueId, Consumer), Kept<BindingRecord>, BySize>,
}

impl Records {
    pub(super) fn new(bytes: u64) -> Self {
        let items = 4096;
        Self {
            instances: Cache::with_weighter(items, bytes / 2, BySize),
            bindings: Cache::with_weighter(items, bytes / 2, BySize),
        }
    }

    pub(super) fn clear(&self) {
        self.instances.clear();
        self.bindings.clear();
    }
}

pub(super) struct Kept<T> {
    pub(super) record: Option<Arc<T>>,
    pub(super) bytes: usize,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self { record: self.record.clone(), bytes: self.bytes }
    }
}

#[derive(Clone)]
pub(super) struct BySize;

impl<K, T> Weighter<K, Kept<T>> for BySize {
    fn weight(&self, _: &K, kept: &Kept<T>) -> u64 {
        // A record takes about as much again in memory as its text, and the entry something of its own.
        2 * kept.bytes as u64 + 512
    }
}
