//! What a deploy sends: fields, and a file of any size that goes straight to disk (contract 8.1).

use axum::extract::{FromRequest, Request, multipart::Field};
use tempfile::{NamedTempFile, TempPath};
use tokio::{fs::File, io::AsyncWriteExt as _};

use crate::{
    Api, ApiInfo,
    extract::{Input, media_type, multipart, next_part},
    respond::{Answer, Failure},
};

/// The largest field that is no file, in bytes: a Dockerfile is one.
const LARGEST_FIELD: usize = 1 << 20;

/// What was sent. Parts may have come in any order.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    /// Everything but the file.
    pub(crate) fields: Input,
    /// The part `file`; gone from disk when this is dropped.
    pub(crate) file: Option<TempPath>,
}

impl Upload {
    /// Reads all of a request.
    pub(crate) async fn read(request: Request, api: &Api) -> Answer<Self> {
        if media_type(request.headers()) != "multipart/form-data" {
            return Ok(Self { fields: Input::from_request(request, api).await?, file: None });
        }
        let mut upload = Self::default();
        let mut form = multipart(request, api).await?;
        while let Some(mut part) = next_part(form.next_field()).await? {
            let name = part.name().unwrap_or_default().to_owned();
            if name.eq_ignore_ascii_case("file") {
                upload.file = keep(&mut part, &api.info).await?;
            } else {
                let text = small(&mut part, &name).await?;
                upload.fields.add(&name, text)?;
            }
        }
        Ok(upload)
    }
}

/// Writes a part to disk as it arrives; none when it is empty.
async fn keep(part: &mut Field<'_>, info: &ApiInfo) -> Answer<Option<TempPath>> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("deploy-").suffix(".tar.gz");
    let made = match &info.upload_dir {
        Some(folder) => builder.tempfile_in(folder),
        None => builder.tempfile(),
    };
    let (file, path) = made.map(NamedTempFile::into_parts).map_err(Failure::Disk)?;
    let mut file = File::from_std(file);
    let mut left = info.upload_limit;
    while let Some(chunk) = next_part(part.chunk()).await? {
        left = left.checked_sub(chunk.len() as u64).ok_or(Failure::TooLarge(info.upload_limit))?;
        file.write_all(&chunk).await.map_err(Failure::Disk)?;
    }
    file.flush().await.map_err(Failure::Disk)?;
    Ok((left < info.upload_limit).then_some(path))
}

async fn small(part: &mut Field<'_>, name: &str) -> Answer<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_part(part.chunk()).await? {
        if bytes.len() + chunk.len() > LARGEST_FIELD {
            return Err(Failure::TooLarge(LARGEST_FIELD as u64));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Failure::bad(format!("the form's field \"{name}\" is not UTF-8 text")))
}
