"""The data room: from files on disk to batches of images or clips, and which one comes next, from any step.

`images` is its front door (reading pictures, opening data sets, those of clips, too); `augment` varies what the model
sees and `preprocess` says what that is; `views` chooses frames and crops of clips, and `decoding` gets them out of
files; `batches` lines all up.
"""
