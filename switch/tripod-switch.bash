# SPDX-License-Identifier: BSD-3-Clause
# bash completion of tripod-switch

_tripod_switch() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' word words
	COMPREPLY=()
	for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		case $word in
		rules | apply | verify | remove | frr) verb=$word ;;
		esac
	done
	case $prev in
	-c | --config)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-m | --model)
		mapfile -t COMPREPLY < <(compgen -W "modulo two-stage resilient" -- "$cur")
		return
		;;
	--hash)
		mapfile -t COMPREPLY < <(compgen -W "outside-endpoint symmetric 5-tuple" -- "$cur")
		return
		;;
	-p | --ports | -f | --failures | --nodes | --without | -b | --bridge) return ;;
	esac
	words="--config --ports --model --failures --hash --nodes --without --bridge --help"
	case $verb in
	"") words+=" rules apply verify remove frr --version" ;;
	rules) words+=" --count --flows-count --json" ;;
	apply) words+=" --dry-run --json" ;;
	verify) words+=" --json" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -F _tripod_switch tripod-switch
