//! `NotesService`: what this program offers to its plugins.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::{Request, Response, Status};

use crate::proto::notes::notes_service_server::NotesService;
use crate::proto::notes::{AddNoteRequest, AddNoteResponse, ListNotesRequest, ListNotesResponse, Note};

/// Notes that are kept at most: a plugin in a loop must not take the program's memory.
const MAX_NOTES: usize = 100;

/// The notes. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<Note>>>);

impl Notes {
    fn lock(&self) -> MutexGuard<'_, Vec<Note>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl NotesService for Notes {
    async fn add_note(&self, request: Request<AddNoteRequest>) -> Result<Response<AddNoteResponse>, Status> {
        // The gateway sets it; a call from this program does not pass the gateway.
        let author = request.metadata().get("plugmesh-caller").and_then(|caller| caller.to_str().ok());
        let author = author.unwrap_or("app").to_owned();
        let mut notes = self.lock();
        if notes.len() == MAX_NOTES {
            return Err(Status::resource_exhausted(format!("there are {MAX_NOTES} notes already")));
        }
        notes.push(Note { text: request.into_inner().text, author });
        Ok(Response::new(AddNoteResponse { count: notes.len() as u32 }))
    }

    async fn list_notes(&self, _: Request<ListNotesRequest>) -> Result<Response<ListNotesResponse>, Status> {
        Ok(Response::new(ListNotesResponse { notes: self.lock().clone() }))
    }
}
