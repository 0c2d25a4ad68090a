package cloudlet.standin;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;

/** The SRM status for a failure of the file system. */
final class FileFaults {
    private FileFaults() {}

    static Refusal refusal(Path path, IOException error) {
        if (error instanceof NoSuchFileException) {
            return new Refusal("SRM_INVALID_PATH", path + " does not exist");
        }
        if (error instanceof NotDirectoryException) {
            return new Refusal("SRM_INVALID_PATH", path + " is not a directory");
        }
        if (error instanceof AccessDeniedException) {
            return new Refusal("SRM_AUTHORIZATION_FAILURE", path + ": permission denied");
        }
        if (error instanceof FileAlreadyExistsException) {
            return new Refusal("SRM_DUPLICATION_ERROR", path + " exists");
        }
        if (error instanceof DirectoryNotEmptyException) {
            return new Refusal("SRM_NON_EMPTY_DIRECTORY", path + " is not empty");
        }
        return new Refusal("SRM_FAILURE", path + ": " + error.getMessage());
    }
}
