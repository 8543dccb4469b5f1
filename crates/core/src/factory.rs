//! Kinds with their types erased, for the registry. No macro: `ExporterFactory::of::<Kind>()` is a constant.

use crate::config::{Problems, parse};
use crate::{
    Batch, BoxError, BoxFuture, BuildContext, BuildError, Consumer, DynExporter, ExporterKind, Needs,
    Preview, Processor, ProcessorKind, Receiver, ReceiverKind, Signal, Stop,
};
use serde_json::Value;
use std::marker::PhantomData;
use std::sync::Arc;

/// What `components` and the JSON Schema need to know of a kind.
macro_rules! factory {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $erased:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name {
            /// The type in a configuration file.
            pub name: &'static str,
            /// One sentence.
            pub summary: &'static str,
            /// What it takes or sends.
            pub signals: &'static [Signal],
            /// The JSON Schema of its configuration.
            pub schema: fn() -> Value,
            /// Parses and checks a configuration. Problems are added with their path below the component; `None` if
            /// there is nothing that could be built.
            pub parse: fn(&Value, &mut Problems) -> Option<Box<dyn $erased>>,
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name)
            }
        }

        impl $name {
            /// The factory of one kind.
            pub const fn of<K: $kind>() -> Self
            where
                Typed<K, K::Config>: $erased,
            {
                $name {
                    name: K::NAME,
                    summary: K::SUMMARY,
                    signals: K::SIGNALS,
                    schema: || crate::config::schema::<K::Config>(),
                    parse: |value, problems| {
                        let before = problems.len();
                        let config = parse::<K::Config>(value, problems)?;
                        K::check(&config, problems);
                        (problems.len() == before).then(|| {
                            Box::new(Typed { config, kind: PhantomData::<fn() -> K> }) as Box<dyn $erased>
                        })
                    },
                }
            }
        }
    };
}

factory! {
    /// Builds exporters of one kind.
    ExporterFactory, ExporterKind, ErasedExporter
}
factory! {
    /// Builds receivers of one kind.
    ReceiverFactory, ReceiverKind, ErasedReceiver
}
factory! {
    /// Builds processors of one kind.
    ProcessorFactory, ProcessorKind, ErasedProcessor
}

/// A checked configuration and the kind it belongs to.
#[doc(hidden)]
pub struct Typed<K, C> {
    config: C,
    kind: PhantomData<fn() -> K>,
}

/// A checked exporter configuration.
pub trait ErasedExporter: Send {
    /// As [`ExporterKind::needs`].
    fn needs(&self) -> Needs;
    /// As [`ExporterKind::preview`].
    fn preview(&self, batches: &[Batch]) -> Option<Preview>;
    /// As [`ExporterKind::build`].
    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Arc<dyn DynExporter>, BuildError>;
}

impl<K: ExporterKind> ErasedExporter for Typed<K, K::Config> {
    fn needs(&self) -> Needs {
        K::needs(&self.config)
    }
    fn preview(&self, batches: &[Batch]) -> Option<Preview> {
        K::preview(&self.config, batches)
    }
    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Arc<dyn DynExporter>, BuildError> {
        Ok(Arc::new(K::build(self.config, cx)?))
    }
}

/// Runs one built receiver until it is stopped.
pub type RunReceiver =
    Box<dyn FnOnce(Arc<dyn Consumer>, Stop) -> BoxFuture<'static, Result<(), BoxError>> + Send>;

/// A checked receiver configuration.
pub trait ErasedReceiver: Send {
    /// As [`ReceiverKind::EVERY_WORKER`].
    fn every_worker(&self) -> bool;
    /// As [`ReceiverKind::build`].
    fn build(&self, cx: &BuildContext) -> Result<RunReceiver, BuildError>;
}

impl<K: ReceiverKind> ErasedReceiver for Typed<K, K::Config> {
    fn every_worker(&self) -> bool {
        K::EVERY_WORKER
    }
    fn build(&self, cx: &BuildContext) -> Result<RunReceiver, BuildError> {
        let receiver = K::build(self.config.clone(), cx)?;
        Ok(Box::new(move |next, stop| Box::pin(receiver.run(next, stop))))
    }
}

/// A checked processor configuration.
pub trait ErasedProcessor: Send {
    /// As [`ProcessorKind::build`].
    fn build(&self, signal: Signal, cx: &BuildContext) -> Box<dyn Processor>;
}

impl<K: ProcessorKind> ErasedProcessor for Typed<K, K::Config> {
    fn build(&self, signal: Signal, cx: &BuildContext) -> Box<dyn Processor> {
        Box::new(K::build(self.config.clone(), signal, cx))
    }
}
