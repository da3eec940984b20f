//! The two actors of storage, as their supervisor sees them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::contract::storage::Service;
use comet_kernel::supervisor::{ActorSpec, Spec, Strategy};
use comet_kernel::{Handle, Kernel, Thread, limits, settings};

use crate::reader::Reader;
use crate::shared::Shared;
use crate::space::{FileSystem, Space};
use crate::writer::{SetAside, Writer};

/// How long the writer may take to commit what waits and close the database.
const SHUTDOWN: Duration = Duration::from_secs(30);

/// How long an actor may show no progress: a slow disk is not a stuck actor.
const PATIENCE: Duration = Duration::from_secs(30);

/// The supervisor of storage: serves `service` from the database in `directory`, each actor on a thread of its own. Its
/// start fails with the text of an [`crate::OpenError`].
pub fn spec(kernel: &Kernel, settings: &settings::Storage, directory: &Path, service: &Service) -> Spec {
    spec_on(kernel, settings, directory, service, Arc::new(FileSystem))
}

/// [`spec`] with the room that `space` tells of.
pub fn spec_on(
    kernel: &Kernel,
    settings: &settings::Storage,
    directory: &Path,
    service: &Service,
    space: Arc<dyn Space>,
) -> Spec {
    let shared = Arc::new(Shared::new(directory, settings, space));
    let set_aside = Handle::vacant(&kernel.clock);
    Spec::new("storage", Strategy::RestForOne)
        .probe(Duration::from_secs(1), PATIENCE)
        .child(writer(kernel, &shared, service, &set_aside))
        .child(reader(kernel, &shared, service, &set_aside))
}

fn writer(kernel: &Kernel, shared: &Arc<Shared>, service: &Service, set_aside: &Handle<SetAside>) -> ActorSpec<Writer> {
    let (kernel, shared, way) = (kernel.clone(), shared.clone(), service.clone());
    let factory = move || {
        let life = shared.begin().map_err(|error| error.to_string())?;
        Ok(Writer::new(shared.clone(), kernel.clone(), &way, life))
    };
    ActorSpec::new("writer", &Thread::new("storage-writer"), factory)
        .mailbox(limits::SHARED_MAILBOX)
        .shutdown(SHUTDOWN)
        .serves(&service.write)
        .serves(&service.write_script)
        .serves(&service.drop_sources)
        .serves(&service.clear)
        .serves(set_aside)
}

fn reader(kernel: &Kernel, shared: &Arc<Shared>, service: &Service, set_aside: &Handle<SetAside>) -> ActorSpec<Reader> {
    let (events, shared, set_aside) = (kernel.events.clone(), shared.clone(), set_aside.clone());
    let factory = move || Ok(Reader::new(shared.clone(), events.clone(), set_aside.clone()));
    ActorSpec::new("reader", &Thread::new("storage-reader"), factory)
        .mailbox(limits::SHARED_MAILBOX)
        .serves(&service.read)
        .serves(&service.scan)
        .serves(&service.read_dues)
        .serves(&service.read_script)
        .serves(&service.read_sources)
        .serves(&service.read_names)
        .serves(&service.read_status)
}
