# Completion of kubectl-dbmig in bash. For `kubectl dbmig`, kubectl itself asks a program named kubectl_complete-dbmig
# on the PATH (kubectl 1.26 and newer): `kubectl dbmig completion install` puts it there.
_kubectl_dbmig() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        [[ $line == :* ]] || COMPREPLY+=("${line%%$'\t'*}")
    done < <("${COMP_WORDS[0]}" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _kubectl_dbmig kubectl-dbmig
