//! Why a component could not be pulled.

/// Why a component could not be pulled, split by what the caller can do. [`Error::code`] gives the stable code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source is none (CZ0701).
    #[error("{0}")]
    Reference(String),
    /// The registry does not answer, or not as it should.
    #[error("{host}: {reason}")]
    Unreachable {
        /// Host that was asked.
        host: String,
        /// What happened.
        reason: String,
    },
    /// It wants other credentials, or any.
    #[error("{host} refused access: {reason}")]
    Refused {
        /// Host that was asked.
        host: String,
        /// What it said, or what is missing.
        reason: String,
    },
    /// There is no such name, tag or digest.
    #[error("{0} is not there")]
    NotFound(String),
    /// What came is not what its digest names (CZ0711).
    #[error("digest mismatch: expected sha256:{expected}, got {found}")]
    Digest {
        /// 64 hexadecimal digits.
        expected: String,
        /// The digest, or the size, of what came.
        found: String,
    },
    /// What is there is no component (CZ0702).
    #[error("{0}")]
    NotAComponent(String),
    /// The component is no plugin of its kind, or not the one that `digest` names.
    #[error(transparent)]
    Plugin(#[from] crate::plugin::Error),
    /// The lock file cannot be used, or would have to change.
    #[error("{0}")]
    Lock(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reference(_) => "CZ0701",
            Self::Unreachable { .. } => "registry_unreachable",
            Self::Refused { .. } => "registry_refused",
            Self::NotFound(_) => "component_not_found",
            Self::Digest { .. } => "CZ0711",
            Self::NotAComponent(_) => "CZ0702",
            Self::Plugin(error) => error.code(),
            Self::Lock(_) => "lock_outdated",
            Self::File { .. } => "usage",
        }
    }

    /// How to mend it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Refused { .. } => Some("log in with `docker login` or `oras login`"),
            Self::Lock(_) => Some("run `compozy plugin pull` and commit compozy.lock"),
            Self::Digest { .. } => Some("the registry, or who answers in its place, is not to be trusted"),
            _ => None,
        }
    }

    pub(super) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { path, source }
    }
}
