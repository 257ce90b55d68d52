(clip) => (clip && confirm('Delete this clip? Its file is removed from the server.') ? clip : null)
