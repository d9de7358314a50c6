use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use aqueduct_core::{
    Backend as _, Checkpoint, GroupKey, Lease, LeaseStore, Options, OwnerId, PartitionId, ReadFrom,
    Resource, Result, Runtime, Swap, Url,
};
use aqueduct_object_store::ObjectStoreBackend;
use aqueduct_object_store::object_store::client::{HttpError, HttpErrorKind};
use aqueduct_object_store::object_store::memory::InMemory;
use aqueduct_object_store::object_store::path::Path;
use aqueduct_object_store::object_store::{
    self, Attribute, Attributes, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt as _};

/// A fault of a request or of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never reaches the store.
    Cut,
    /// It is carried out, and its response is lost.
    LoseResponse,
    /// Something on the way repeats it after the first response was lost.
    Repeat,
    Denied,
    MissingContainer,
    /// Conditions are ignored, as some services do.
    IgnoreCondition,
    /// Versions depend on the body alone, as on S3.
    VersionOfBody,
    DropMetadata,
}

/// A store in memory that counts requests and fails on demand.
#[derive(Debug, Default)]
pub struct Faulty {
    inner: InMemory,
    /// The next request whose path contains the text has the fault.
    once: Mutex<Vec<(String, Fault)>>,
    always: Mutex<Vec<Fault>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl Faulty {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn once(&self, path: &str, fault: Fault) {
        self.once.lock().unwrap().push((path.to_owned(), fault));
    }

    pub fn always(&self, fault: Fault) {
        self.always.lock().unwrap().push(fault);
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap().clone()
    }

    pub fn reset_counts(&self) {
        self.counts.lock().unwrap().clear();
    }

    /// Returns the metadata of an object.
    pub async fn metadata(&self, path: &str) -> Option<BTreeMap<String, String>> {
        let options = GetOptions::default();
        let path = Path::parse(path).unwrap();
        let attributes = self.inner.get_opts(&path, options).await.ok()?.attributes;
        let named = attributes.iter().map(|(attribute, value)| match attribute {
            Attribute::Metadata(name) => (name.to_string(), value.to_string()),
            other => panic!("{other:?}"),
        });
        Some(named.collect())
    }

    /// Writes metadata and nothing else, as Microsoft's processors do.
    pub async fn set_metadata(&self, path: &str, entries: &[(&'static str, &str)]) {
        let mut options = PutOptions::default();
        for (name, value) in entries {
            let attribute = Attribute::Metadata((*name).into());
            options
                .attributes
                .insert(attribute, (*value).to_owned().into());
        }
        let path = Path::parse(path).unwrap();
        let put = self.inner.put_opts(&path, PutPayload::new(), options);
        put.await.unwrap();
    }

    pub async fn put(&self, path: &str, body: &'static str) {
        let path = Path::parse(path).unwrap();
        self.inner.put(&path, body.into()).await.unwrap();
    }

    pub async fn names(&self) -> Vec<String> {
        let all = self.inner.list(None);
        all.map(|meta| meta.unwrap().location.to_string())
            .collect()
            .await
    }

    fn count(&self, operation: &'static str) {
        *self.counts.lock().unwrap().entry(operation).or_default() += 1;
    }

    fn fault(&self, path: &Path, is_read: bool) -> Option<Fault> {
        let mut once = self.once.lock().unwrap();
        let found = once.iter().position(|(part, fault)| {
            path.as_ref().contains(part.as_str()) && (!is_read || *fault == Fault::Cut)
        })?;
        Some(once.remove(found).1)
    }

    fn has(&self, fault: &Fault) -> bool {
        self.always.lock().unwrap().contains(fault)
    }

    fn refuse(&self, path: &Path) -> object_store::Result<()> {
        let path = path.to_string();
        if self.has(&Fault::Denied) {
            let source = "AuthorizationPermissionMismatch".into();
            return Err(object_store::Error::PermissionDenied { path, source });
        }
        if self.has(&Fault::MissingContainer) {
            let source = "status code: 404: ContainerNotFound".into();
            return Err(object_store::Error::NotFound { path, source });
        }
        Ok(())
    }

    async fn put_now(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let ignores = self.has(&Fault::IgnoreCondition) || self.has(&Fault::VersionOfBody);
        if ignores && matches!(options.mode, PutMode::Update(_)) {
            options.mode = PutMode::Overwrite;
        }
        if self.has(&Fault::DropMetadata) {
            options.attributes = Attributes::new();
        }
        let mut put = self.inner.put_opts(path, payload, options).await?;
        if self.has(&Fault::VersionOfBody) {
            put.e_tag = Some("\"d41d8cd98f00b204e9800998ecf8427e\"".into());
        }
        Ok(put)
    }
}

fn http(kind: HttpErrorKind) -> object_store::Error {
    object_store::Error::Generic {
        store: "Faulty",
        source: Box::new(HttpError::new(kind, std::io::Error::other("on demand"))),
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.count("put");
        self.refuse(path)?;
        match self.fault(path, false) {
            Some(Fault::Cut) => Err(http(HttpErrorKind::Connect)),
            Some(Fault::LoseResponse) => {
                self.put_now(path, payload, options).await?;
                Err(http(HttpErrorKind::Timeout))
            }
            Some(Fault::Repeat) => {
                self.put_now(path, payload.clone(), options.clone()).await?;
                self.put_now(path, payload, options).await
            }
            _ => self.put_now(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.count(if options.head { "head" } else { "get" });
        self.refuse(path)?;
        match self.fault(path, true) {
            Some(_) => Err(http(HttpErrorKind::Connect)),
            None => self.inner.get_opts(path, options).await,
        }
    }

    async fn get_ranges(
        &self,
        path: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.count("delete");
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.count("list");
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

pub const OWN: &str = "az://shop/leases/a";
pub const PROCESSOR: &str = "az://shop/leases?event_hubs=Shop.servicebus.windows.net&processor_watch=0s&checkpoint_blobs=0s";
/// The folder of [`key`] in Microsoft's layout.
pub const FOLDER: &str = "shop.servicebus.windows.net/orders/billing";

pub fn resource(store: &Arc<Faulty>, url: &str) -> Result<Arc<dyn Resource>> {
    let backend = ObjectStoreBackend::with_store(store.clone());
    let url = Url::parse(url).unwrap();
    backend.parse("leases", &url, Options::new("groups.g.leases"))
}

pub async fn leases(store: &Arc<Faulty>, url: &str) -> Arc<dyn LeaseStore> {
    let resource = resource(store, url).unwrap();
    resource.leases(&runtime()).await.unwrap()
}

pub fn runtime() -> Runtime {
    aqueduct_runtime::tokio()
}

pub fn key() -> GroupKey {
    GroupKey::new("Billing", "Orders")
}

pub fn fresh(partition: &str) -> Lease {
    let start = Checkpoint::Start(ReadFrom::Earliest);
    Lease::new(PartitionId::new(partition), start)
}

/// Returns `current` taken by `owner`.
pub fn taken(current: &Lease, owner: &str) -> Lease {
    let mut next = current.clone();
    next.owner = Some(OwnerId::new(owner));
    next.generation += 1;
    next.wanted_by = None;
    advanced(next)
}

/// Returns `lease` as its owner's next write.
pub fn advanced(mut lease: Lease) -> Lease {
    lease.counter += 1;
    lease.nonce = 40 + lease.counter;
    lease
}

pub fn swapped(swap: Swap) -> Lease {
    match swap {
        Swap::Swapped(lease) => lease,
        Swap::Lost(row) => panic!("lost to {row:?}"),
    }
}
