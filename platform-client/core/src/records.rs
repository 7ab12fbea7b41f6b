//! Typed records over the store's untyped ones.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    App, Error, Event, Plan, PlatformImage, Pool, Result, Service, ServiceInstance, Team, Token, User,
    ports::{Page, Record, RecordKind, Store, Write, instance_key},
};

/// Something that is kept in the store under a key.
pub(crate) trait Document: Serialize + DeserializeOwned + Send + Sync {
    /// The kind of record.
    const KIND: RecordKind;
    /// Its key within the kind.
    fn key(&self) -> String;
}

macro_rules! document {
    ($type:ty, $kind:ident, $this:ident => $key:expr) => {
        impl Document for $type {
            const KIND: RecordKind = RecordKind::$kind;

            fn key(&self) -> String {
                let $this = self;
                $key
            }
        }
    };
}

document!(App, App, app => app.name.to_string());
document!(Service, Service, service => service.name.to_string());
document!(ServiceInstance, Instance, instance => instance_key(&instance.service, &instance.name));
document!(Event, Event, event => event.id.to_string());
document!(User, User, user => user.email.to_string());
document!(Token, Token, token => token.digest.clone());
document!(Team, Team, team => team.name.to_string());
document!(Pool, Pool, pool => pool.name.to_string());
document!(Plan, Plan, plan => plan.name.to_string());
document!(PlatformImage, Platform, platform => platform.name.to_string());

/// A document as it was read: it can be written back as long as nobody else has changed it.
#[derive(Clone, Debug)]
pub(crate) struct Kept<T> {
    value: T,
    revision: i64,
}

impl<T> Kept<T> {
    /// A document that must not exist yet.
    pub(crate) fn new(value: T) -> Self {
        Self { value, revision: 0 }
    }

    pub(crate) fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Document> Kept<T> {
    /// The write that replaces what was read.
    pub(crate) fn put(&self) -> Result<Write> {
        let body = serde_json::to_string(&self.value).map_err(|unwritable| Error::Store(unwritable.into()))?;
        Ok(Write::Put { kind: T::KIND, key: self.value.key(), replaces: self.revision, body })
    }

    /// The write that removes it.
    pub(crate) fn delete(&self) -> Write {
        Write::Delete { kind: T::KIND, key: self.value.key() }
    }
}

/// The store, typed.
#[derive(Clone)]
pub(crate) struct Records(Arc<dyn Store>);

impl Records {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    pub(crate) async fn get<T: Document>(&self, key: &str) -> Result<Option<Kept<T>>> {
        self.0.get(T::KIND, key).await?.map(read).transpose()
    }

    pub(crate) async fn list<T: Document>(&self, page: Page<'_>) -> Result<Vec<Kept<T>>> {
        self.0.list(T::KIND, page).await?.into_iter().map(read).collect()
    }

    pub(crate) async fn all<T: Document>(&self) -> Result<Vec<T>> {
        Ok(self.list(Page::default()).await?.into_iter().map(Kept::into_inner).collect())
    }

    /// All writes or none.
    pub(crate) async fn commit(&self, writes: &[Write]) -> Result<()> {
        Ok(self.0.commit(writes).await?)
    }

    /// Writes one document; it can be written again afterwards.
    pub(crate) async fn save<T: Document>(&self, document: &mut Kept<T>) -> Result<()> {
        self.save_with(document, Vec::new()).await
    }

    /// Writes one document together with `others`: all or nothing.
    pub(crate) async fn save_with<T: Document>(&self, document: &mut Kept<T>, mut others: Vec<Write>) -> Result<()> {
        others.push(document.put()?);
        self.commit(&others).await?;
        document.revision += 1;
        Ok(())
    }

    /// Creates a document; `taken` is the refusal when there is one of that key already.
    pub(crate) async fn insert<T: Document>(&self, value: T, taken: impl FnOnce() -> Error) -> Result<()> {
        match self.0.commit(&[Kept::new(value).put()?]).await {
            Err(crate::ports::StoreError::Conflict(..)) => Err(taken()),
            outcome => Ok(outcome?),
        }
    }
}

fn read<T: Document>(record: Record) -> Result<Kept<T>> {
    let value = serde_json::from_str(&record.body).map_err(|unreadable| Error::Store(unreadable.into()))?;
    Ok(Kept { value, revision: record.revision })
}
